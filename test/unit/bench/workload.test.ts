import { expect, test } from 'vitest';
import { Kind, Workload, type WorkloadOptions } from '../../../bench/load/workload.js';

const workload = (more: Partial<WorkloadOptions>) =>
  new Workload({
    op: 'read',
    pattern: 'random',
    blocks: 1000,
    readPercent: 0,
    flushEvery: 0,
    seed: 1,
    ...more,
  });

test('a mix has its share of reads, a flush comes behind so many, and the same seed asks for the same', () => {
  const [one, two] = [1, 1].map(() => workload({ op: 'mix', readPercent: 70, flushEvery: 32 }));
  const count = [0, 0, 0, 0];
  const blocks = new Set<number>();
  let differences = 0;
  for (let i = 0; i < 33_000; i++) {
    const kind = one!.next();
    if (two!.next() !== kind || two!.block !== one!.block) differences++;
    count[kind]!++;
    blocks.add(one!.block);
  }
  expect(differences).toBe(0);
  expect(count[Kind.FLUSH]).toBe(1000);
  expect(count[Kind.READ]! / 32_000).toBeCloseTo(0.7, 1);
  expect(blocks.size).toBe(1000);
});

test('a fill writes every block once and ends', () => {
  const fill = workload({ op: 'fill', blocks: 3 });
  const asked = Array.from({ length: 5 }, () => [fill.next(), fill.block]);
  expect(asked).toEqual([
    [Kind.WRITE, 0],
    [Kind.WRITE, 1],
    [Kind.WRITE, 2],
    [Kind.NONE, 2],
    [Kind.NONE, 2],
  ]);
});
