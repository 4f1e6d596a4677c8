import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Drain } from '../../../src/client/drain.js';

const settled = async (promise: Promise<void>): Promise<boolean> => {
  let done = false;
  promise.then(() => {
    done = true;
  });
  for (let i = 0; i < 10; i++) await null;
  return done;
};

describe('what is under way', () => {
  test('is drained at once when there is nothing', async () => {
    expect(await settled(new Drain().drained())).toBe(true);
  });

  test('does not wait for what began later', async () => {
    const drain = new Drain();
    const before = drain.begin();
    const drained = drain.drained();
    await settled(drained);
    drain.begin();
    expect(await settled(drained)).toBe(false);
    drain.end(before);
    expect(await settled(drained)).toBe(true);
  });

  test('is waited for by a second caller, also where the first has given up', async () => {
    const drain = new Drain();
    const first = drain.begin();
    await settled(drain.drained());
    const second = drain.begin();
    const drained = drain.drained();
    drain.end(second);
    expect(await settled(drained)).toBe(false);
    drain.end(first);
    expect(await settled(drained)).toBe(true);
  });

  test('whatever comes and ends in whatever order: all from before has ended, and it ends when that has', async () => {
    const steps = fc.array(
      fc.oneof(
        fc.constant({ kind: 'begin' as const }),
        fc.constant({ kind: 'ask' as const }),
        fc.nat().map((which) => ({ kind: 'end' as const, which })),
      ),
      { maxLength: 60 },
    );
    await fc.assert(
      fc.asyncProperty(steps, async (todo) => {
        const drain = new Drain();
        const open: { id: number; generation: number }[] = [];
        const asked: { before: Set<number>; done: boolean }[] = [];
        let id = 0;
        const check = () => {
          const live = new Set(open.map((one) => one.id));
          for (const { before, done } of asked) {
            if (done) for (const each of before) expect(live.has(each)).toBe(false);
          }
        };
        for (const step of todo) {
          if (step.kind === 'begin') open.push({ id: id++, generation: drain.begin() });
          else if (step.kind === 'end') {
            if (open.length === 0) continue;
            drain.end(open.splice(step.which % open.length, 1)[0]!.generation);
          } else {
            const one = { before: new Set(open.map((each) => each.id)), done: false };
            asked.push(one);
            drain.drained().then(() => {
              one.done = true;
              check();
            });
          }
          for (let i = 0; i < 4; i++) await null;
          check();
        }
        expect(drain.size).toBe(open.length);
        for (const { generation } of open.splice(0)) drain.end(generation);
        for (let i = 0; i < 200; i++) await null;
        expect(asked.every(({ done }) => done)).toBe(true);
      }),
    );
  });
});
