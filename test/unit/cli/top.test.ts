import { expect, test } from 'vitest';
import { type Look, ostRates, recoveryRows, type Traffic } from '../../../src/cli/top/rates.js';
import { MiB } from '../../../src/common/units.js';
import type { ObjectInfo } from '../../../src/protocol/index.js';

const traffic = (change: Partial<Traffic>): Traffic => {
  return { reads: 0, writes: 0, flushes: 0, readBytes: 0, writtenBytes: 0, inFlight: 0, ...change };
};
const look = (
  atMs: number,
  osts: Record<string, Partial<Traffic>>,
  copied: Record<string, [done: number, bytes: number]> = {},
): Look => ({
  atMs,
  traffic: new Map(Object.entries(osts).map(([ostId, change]) => [ostId, traffic(change)])),
  volumes: [
    {
      id: 'i',
      name: 'v',
      recovery: Object.entries(copied).map(([ostId, [regionsDone, copiedBytes]]) => {
        return { ostId, regionsTotal: 100, regionsDone, copiedBytes };
      }),
    } as unknown as ObjectInfo,
  ],
});

test('rates are of the time between two looks, what is in flight of the last', () => {
  const before = look(1000, { a: { reads: 100, writtenBytes: MiB, inFlight: 9 } });
  const after = look(3000, { a: { reads: 500, writtenBytes: 5 * MiB, inFlight: 3 }, b: { reads: 7 } });
  expect(ostRates(before, after, 'a')).toMatchObject({
    readsPerSecond: 200,
    writtenBytesPerSecond: 2 * MiB,
    inFlight: 3,
  });
  expect(ostRates(before, after, 'b')).toBeNull();
});

test('counters that begin anew give no negative rate', () => {
  const rates = ostRates(look(0, { a: { reads: 1000 } }), look(1000, { a: { reads: 30 } }), 'a');
  expect(rates!.readsPerSecond).toBe(30);
});

test('copies: how fast, and how long it will take', () => {
  const rows = recoveryRows(look(0, {}, { a: [10, 0] }), look(2000, {}, { a: [30, 80 * MiB], b: [1, 1] }));
  expect(rows).toEqual([
    expect.objectContaining({ volume: 'v', ostId: 'a', copiedBytesPerSecond: 40 * MiB, secondsLeft: 7 }),
    expect.objectContaining({ ostId: 'b', copiedBytesPerSecond: 0, secondsLeft: null }),
  ]);
});
