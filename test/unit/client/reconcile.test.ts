import { expect, test } from 'vitest';
import { RangeLocks } from '../../../src/client/range-locks.js';
import type { VolumeRequest } from '../../../src/client/records.js';
import { Reconcile } from '../../../src/client/recovery/reconcile.js';
import { RegionSet } from '../../../src/client/region-set.js';
import type { VolumeState } from '../../../src/client/volume-state.js';
import { systemClock } from '../../../src/common/clock.js';
import { silentLogger } from '../../../src/common/log.js';
import { GiB, MiB } from '../../../src/common/units.js';

const REGION = 4 * MiB;
const REGIONS_PER_CHUNK = 1024;

/** A volume of two replicas, both of which copy whatever they are asked to. */
function volume(unreconciled: RegionSet): { state: VolumeState; copies: () => number } {
  let copies = 0;
  const peer = {
    call: async () => {
      copies++;
      await new Promise((resolve) => setImmediate(resolve));
      return { copiedBytes: 0, zeroedBytes: 0, sourceStatus: 0 };
    },
  };
  const member = (ostId: string) => ({
    ...{ ostId, inSync: true, attached: true, readable: true, behind: false, losses: 0, headVersion: 1 },
    ...{ bootId: { kernel: 'k', generation: 1 }, addresses: [], peer, handle: 1 },
  });
  const members = [member('a'), member('b')];
  const state = {
    ...{ env: { log: silentLogger, clock: systemClock }, fatal: null, unreconciled, members },
    ...{ regionSizeBytes: REGION, regionsPerChunk: REGIONS_PER_CHUNK, locks: new RangeLocks() },
    ...{ object: { chunkSizeBytes: REGION * REGIONS_PER_CHUNK, lastSeal: 0 }, placement: () => members },
  };
  return { state: state as unknown as VolumeState, copies: () => copies };
}

test('long requests that wait for many regions are begun once each, and each region is copied once', async () => {
  const unreconciled = new RegionSet(REGIONS_PER_CHUNK);
  unreconciled.addRange(0, 16 * GiB, REGION);
  const regions = unreconciled.size;
  const { state, copies } = volume(unreconciled);
  let parked = 0;
  const begun: number[] = [];
  const begin = (request: VolumeRequest) => {
    const { lockStart, lockEnd } = request;
    if (unreconciled.overlaps(lockStart, lockEnd, REGION)) {
      parked++;
      reconcile.park(request);
    } else begun.push(lockStart / GiB);
  };
  const reconcile = new Reconcile(state, begin);
  for (let i = 15; i >= 0; i--) {
    begin({ lockStart: i * GiB, lockEnd: (i + 1) * GiB } as VolumeRequest);
  }
  await reconcile.done();
  expect(copies()).toBe(regions);
  expect(parked).toBe(16);
  // In the order in which they came, but for the few that are copied at the same time.
  expect([...begun].sort((a, b) => a - b)).toEqual(Array.from({ length: 16 }, (_, i) => i));
  expect(begun[0]).toBeGreaterThan(12);
  expect(begun.at(-1)).toBeLessThan(3);
});
