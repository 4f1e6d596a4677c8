import { afterEach, expect, test } from 'vitest';
import { type Span, TRACE, TraceKind, TraceSite, traceFor } from '../../../src/common/trace.js';

afterEach(() => {
  traceFor(0);
});

const SITE = new TraceSite('test', ['in', 'work', 'out']);

function follow(kind: TraceKind, marks: readonly number[]): number {
  let followed = 0;
  for (let i = 0; i < 70; i++) {
    const span: Span | null = SITE.begin(kind);
    if (span === null) continue;
    followed++;
    for (const mark of marks) span.mark(mark);
    span.end();
  }
  return followed;
}

const seen = () => traceFor(0).filter(({ site }) => site === 'test');

test('one in seven is followed, and the whole and every stage are told once', () => {
  traceFor(1000);
  expect(follow(TraceKind.READ, [1, 2])).toBe(10);
  const figures = seen();
  expect(figures.map(({ kind, stage, count }) => `${kind} ${stage} ${count}`)).toEqual([
    'read in 10',
    'read work 10',
    'read out 10',
    'read all of it 10',
  ]);
  const mean = (stage: string) => figures.find((one) => one.stage === stage)!.meanUs;
  expect(mean('in') + mean('work') + mean('out')).toBeCloseTo(mean('all of it'), 6);
  expect(seen()).toEqual([]);
});

test('operations that take turns are all met', () => {
  traceFor(1000);
  const kinds = new Set<TraceKind>();
  for (let i = 0; i < 28; i++) {
    const kind = i % 2 === 0 ? TraceKind.WRITE : TraceKind.FLUSH;
    const span = SITE.begin(kind);
    if (span === null) continue;
    kinds.add(kind);
    span.end();
  }
  expect(kinds.size).toBe(2);
});

test('a stage whose mark was not passed is not told, and no mark of the operation before is', () => {
  traceFor(1000);
  follow(TraceKind.WRITE, [1, 2]);
  seen();
  traceFor(1000);
  follow(TraceKind.FLUSH, [1]);
  expect(seen().map(({ kind, stage }) => `${kind} ${stage}`)).toEqual(['flush in', 'flush all of it']);
});

test('it is off unless it is asked for, and ends by itself', async () => {
  expect(TRACE.on).toBe(false);
  traceFor(20);
  expect(TRACE.on).toBe(true);
  await expect.poll(() => TRACE.on).toBe(false);
});
