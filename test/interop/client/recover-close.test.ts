import { afterEach, beforeEach, expect, test } from 'vitest';
import { recoverVolume } from '../../../src/client/index.js';
import { systemClock } from '../../../src/common/clock.js';
import { RawstorError } from '../../../src/common/errors.js';
import { MiB } from '../../../src/common/units.js';
import { ClientRig, write } from './rig.js';

/** A recovery whose volume is not closed clean on record is not over. */

let rig: ClientRig;
beforeEach(async () => {
  rig = await ClientRig.start(2);
});
afterEach(() => rig.end());

test('a recovery says that something is left while the MDS cannot record the clean close', async () => {
  await rig.create('v', { sizeBytes: 4 * MiB, chunkSizeBytes: 4 * MiB });
  const volume = await rig.cluster.openVolume('v', { mode: 'write' });
  await write(volume, 0, 7, MiB);
  await volume.close();
  expect(volume.closedClean).toBe(true);
  const engine = await rig.connect('engine');
  const { mds } = engine;
  const call = mds.call.bind(mds);
  let away = true;
  mds.call = ((type: 'mds.close', ...rest: [never]) =>
    type === 'mds.close' && away
      ? Promise.reject(new RawstorError('UNAVAILABLE', 'the MDS is away'))
      : call(type, ...rest)) as typeof mds.call;
  expect(await recoverVolume(engine, 'v', { clock: systemClock })).toBe('waiting');
  away = false;
  // The lease of the first may go on for some seconds; it gives way to who recovers again.
  let outcome = '';
  for (let i = 0; i < 60 && outcome === ''; i++) {
    outcome = await recoverVolume(engine, 'v', { clock: systemClock }).catch(() => '');
    if (outcome === '') await systemClock.sleep(500);
  }
  expect(outcome).toBe('recovered');
  expect((await rig.object('v')).clean).toBe(true);
  await engine.close();
});
