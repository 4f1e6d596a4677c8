import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { SteadyLoad } from '../../fixtures/steady-load.js';
import { until } from '../cli/programs.js';
import { FAULTS, FaultyCluster } from './faulty-cluster.js';
import { canMakeNamespaces } from './hosts.js';

/** A guest sees a pause when a replica is lost, and never an error (I6); how long it is, `npm run pause` measures. */

const MINUTES = 60_000;
const SIZE_BYTES = 64 * 2 ** 20;

describe.skipIf(!(await canMakeNamespaces()))('a guest under load', () => {
  let cluster: FaultyCluster;
  let load: SteadyLoad;
  beforeAll(async () => {
    cluster = await FaultyCluster.start();
    await cluster.create('v', SIZE_BYTES);
    const strideBytes = SIZE_BYTES / (8 * 64);
    const plan = { lanes: 8, blocksPerLane: 64, strideBytes, flushEvery: 100 };
    load = await SteadyLoad.start(cluster.nbd, 'v', plan);
  }, 2 * MINUTES);
  afterAll(async () => {
    await load?.stop();
    await cluster?.end();
  }, MINUTES);

  const goesOn = async () => {
    const { completions } = load;
    await until(() => load.completions > completions + 500 || load.errors.length > 0);
  };

  it.each(FAULTS)(
    'sees neither an error nor a wrong byte when an OST is lost: %s',
    async (fault) => {
      const index = FAULTS.indexOf(fault);
      await goesOn();
      await cluster.lose(index, fault);
      await until(async () => (await cluster.inSync('v')) === 2);
      await goesOn();
      await cluster.bringBack(index, fault);
      await until(async () => (await cluster.inSync('v')) === 3);
      await goesOn();
      expect(load.errors).toEqual([]);
    },
    2 * MINUTES,
  );
});
