import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { overlaid, readLayers } from '../../../src/client/layers.js';
import { RangeLocks } from '../../../src/client/range-locks.js';
import { VolumeRequest } from '../../../src/client/records.js';
import type { VolumeState } from '../../../src/client/volume-state.js';

const MiB = 1 << 20;
const MARK = { name: 'a', version: 1 };

/** A volume of which one OST says that nothing has changed. */
function quietVolume(locks: RangeLocks, differs: boolean): VolumeState {
  const snapshot = { version: 1, over: 0, name: 'a', sizeBytes: 4 * MiB, createdWallMs: 0, protected: false };
  const object = { name: 'v', sizeBytes: 4 * MiB, chunkSizeBytes: 2 * MiB, headVersion: 2, headOver: 1 };
  const peer = {
    local: false,
    call: async (_: string, { length }: { length: number }) => ({ runs: [length, 0] }),
  };
  return {
    object: { ...object, snapshots: [snapshot] },
    locks,
    differs: ({ chunk }: { chunk: number }) => differs && chunk === 1,
    placement: () => [{ readable: true, peer, handle: 1, headVersion: 2 }],
  } as unknown as VolumeState;
}

function request(lockStart: number, lockEnd: number, lockExclusive: boolean): VolumeRequest {
  return Object.assign(new VolumeRequest({ lockGranted: () => {} }), { lockStart, lockEnd, lockExclusive });
}

describe('what is being written', () => {
  test('is told as changed', async () => {
    const locks = new RangeLocks();
    locks.acquire(request(MiB, MiB + 4096, true));
    locks.acquire(request(3 * MiB, 4 * MiB, false));
    const copy = {
      lockStart: 2 * MiB,
      lockEnd: 3 * MiB,
      lockExclusive: true,
      lockSlot: -1,
      lockGranted: () => {},
    };
    locks.acquire(copy);
    expect(await readLayers(quietVolume(locks, false), MARK, 0, 4 * MiB)).toEqual([
      { lengthBytes: MiB, depth: 0 },
      { lengthBytes: 4096, depth: 1 },
      { lengthBytes: 3 * MiB - 4096, depth: 0 },
    ]);
    expect(await readLayers(quietVolume(locks, false), MARK, MiB + 512, 512)).toEqual([
      { lengthBytes: 512, depth: 1 },
    ]);
  });

  test('is told as changed, and nothing else is told otherwise', () => {
    const run = fc.record({
      lengthBytes: fc.integer({ min: 1, max: 20 }),
      depth: fc.integer({ min: 0, max: 3 }),
    });
    fc.assert(
      fc.property(fc.array(run, { maxLength: 10 }), fc.nat(150), fc.nat(60), (runs, from, length) => {
        const flat = (list: typeof runs) =>
          list.flatMap(({ lengthBytes, depth }) => Array<number>(lengthBytes).fill(depth));
        const made = overlaid(runs, from, from + length);
        expect(flat(made)).toEqual(
          flat(runs).map((depth, at) => (depth === 0 && at >= from && at < from + length ? 1 : depth)),
        );
        made.forEach((one, i) => {
          expect(one.lengthBytes).toBeGreaterThan(0);
          expect(one.depth).not.toBe(made[i - 1]?.depth);
        });
      }),
    );
  });
});

describe('what replicas may hold differently', () => {
  test('is told as changed', async () => {
    expect(await readLayers(quietVolume(new RangeLocks(), true), MARK, 0, 4 * MiB)).toEqual([
      { lengthBytes: 2 * MiB, depth: 0 },
      { lengthBytes: 2 * MiB, depth: 1 },
    ]);
  });
});
