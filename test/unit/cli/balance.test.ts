import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type BalanceVolume, planBalance } from '../../../src/cli/recovery/balance.js';

const osts = (...capacities: number[]) =>
  capacities.map((capacityBytes, i) => ({ ostId: `o${i}`, capacityBytes }));
const volume = (name: string, bytes: number, ...on: number[]): BalanceVolume => ({
  id: name,
  name,
  bytesOn: new Map(on.map((i) => [`o${i}`, bytes])),
});
const notTwice = (of: BalanceVolume, _from: string, to: string) => !of.bytesOn.has(to);

describe('a plan of moves', () => {
  test('brings copies to an empty OST, as few as do', () => {
    const volumes = [volume('a', 10, 0, 1), volume('b', 10, 0, 1), volume('c', 10, 0, 1)];
    const moves = planBalance(osts(100, 100, 100), volumes, notTwice);
    expect(moves.map(({ to }) => to)).toEqual(['o2', 'o2']);
    expect(new Set(moves.map(({ from }) => from))).toEqual(new Set(['o0', 'o1']));
  });

  test('is empty where it would only swap places, or where nothing may be moved', () => {
    expect(planBalance(osts(100, 100, 100), [volume('a', 10, 0, 1)], notTwice)).toEqual([]);
    expect(planBalance(osts(100, 100), [volume('a', 10, 0), volume('b', 10, 0)], () => false)).toEqual([]);
    expect(planBalance([], [], notTwice)).toEqual([]);
  });

  test('goes by the part that is full, not by bytes', () => {
    const volumes = [volume('a', 10, 0), volume('b', 10, 0), volume('c', 10, 0), volume('d', 10, 1)];
    expect(planBalance(osts(300, 100), volumes, notTwice)).toEqual([]);
    expect(planBalance(osts(100, 300), volumes, notTwice)).toHaveLength(2);
  });

  test('never makes the fullest fuller, moves nothing twice, and obeys', () => {
    const count = 5;
    const sizes = fc.array(fc.tuple(fc.integer({ min: 0, max: 1000 }), fc.nat(count - 1), fc.nat(count - 1)));
    fc.assert(
      fc.property(sizes, (drawn) => {
        const volumes = drawn.map(([bytes, a, b], i) => volume(`v${i}`, bytes, a, b));
        const all = osts(...Array<number>(count).fill(10_000));
        const usedBy = (moves: ReturnType<typeof planBalance>) => {
          const used = new Map(all.map(({ ostId }) => [ostId, 0]));
          for (const { bytesOn } of volumes) for (const [id, n] of bytesOn) used.set(id, used.get(id)! + n);
          for (const { from, to, bytes } of moves) {
            used.set(from, used.get(from)! - bytes);
            used.set(to, used.get(to)! + bytes);
          }
          return Math.max(...used.values());
        };
        const moves = planBalance(all, volumes, notTwice);
        expect(usedBy(moves)).toBeLessThanOrEqual(usedBy([]));
        expect(new Set(moves.map(({ id }) => id)).size).toBe(moves.length);
        for (const { id, from, to } of moves) {
          const of = volumes.find((one) => one.id === id)!;
          expect(of.bytesOn.has(from) && !of.bytesOn.has(to)).toBe(true);
        }
      }),
    );
  });
});
