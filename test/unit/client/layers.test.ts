import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { overlaid } from '../../../src/client/layers.js';

describe('what is being written', () => {
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
