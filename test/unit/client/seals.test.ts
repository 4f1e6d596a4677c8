import { describe, expect, test } from 'vitest';
import { DEFAULT_SEAL_TIMES, type SealFacts, sealDue } from '../../../src/client/seal-due.js';
import { Unsealed } from '../../../src/client/unsealed.js';
import { GiB, MiB } from '../../../src/common/units.js';

const due = (facts: Partial<SealFacts>): boolean =>
  sealDue(DEFAULT_SEAL_TIMES, {
    sinceWriteMs: 0,
    sinceOldestMs: 0,
    sinceSealMs: 1e9,
    unsealedBytes: 4 * MiB,
    flushed: false,
    ...facts,
  });

describe('a seal is due', () => {
  test.each([
    ['not at once', false, {}],
    ['after five seconds without a write', true, { sinceWriteMs: 5001, sinceSealMs: 100 }],
    ['not after four', false, { sinceWriteMs: 4000 }],
    ['when the oldest write is 30 s old', true, { sinceOldestMs: 30_000 }],
    ['not when it is 29 s old', false, { sinceOldestMs: 29_000 }],
    ['when there is much to reconcile', true, { unsealedBytes: 64 * GiB }],
    [
      'but not every few seconds, however much there is',
      false,
      { unsealedBytes: 640 * GiB, sinceSealMs: 9999 },
    ],
    ['when a flush has made all durable', true, { flushed: true, sinceSealMs: 10_000 }],
    ['but not at every flush', false, { flushed: true, sinceSealMs: 9999 }],
  ] as const)('%s', (_what, expected, facts) => {
    expect(due(facts)).toBe(expected);
  });
});

describe('what is not sealed', () => {
  const unsealed = (limitBytes = GiB) => new Unsealed(4 * MiB, 256, limitBytes);

  test('is counted by regions, each once', () => {
    const written = unsealed();
    expect(written.any).toBe(false);
    written.note(0, 4096, 5);
    written.note(4096, 8192, 6);
    written.note(4 * MiB - 1, 4 * MiB + 1, 7);
    written.note(0, 4096, 8);
    expect(written).toMatchObject({ any: true, bytes: 8 * MiB, sinceMs: 5 });
  });

  test('is counted up to its limit and no further', () => {
    const written = unsealed(12 * MiB);
    for (let i = 0; i < 1000; i++) written.note(i * GiB, i * GiB + 512, 0);
    expect(written.bytes).toBe(12 * MiB);
    written.begin(false, 1);
    for (let i = 0; i < 1000; i++) written.note(i * GiB, i * GiB + 512, 0);
    written.failed();
    expect(written.bytes).toBe(12 * MiB);
  });

  test('is pending while its seal is not answered, also where nothing was written since', () => {
    const written = unsealed();
    expect(written.pending).toBe(false);
    written.note(0, 4096, 0);
    written.begin(false, 1);
    expect(written).toMatchObject({ any: false, pending: true });
    written.failed();
    expect(written).toMatchObject({ any: true, pending: true });
    written.begin(false, 2);
    written.sealed();
    expect(written.pending).toBe(false);
  });

  test('is what came after the beginning of a seal, when that has succeeded', () => {
    const written = unsealed();
    written.note(0, 4096, 1);
    written.begin(false, 10);
    expect(written).toMatchObject({ any: false, bytes: 4 * MiB });
    written.note(0, 4096, 11);
    written.note(8 * MiB, 8 * MiB + 1, 12);
    expect(written.bytes).toBe(12 * MiB);
    written.sealed();
    expect(written).toMatchObject({ any: true, bytes: 8 * MiB, sinceMs: 11 });
  });

  test('is all of it after a seal that failed, however often', () => {
    const written = unsealed();
    written.note(0, 4096, 1);
    for (const at of [10, 20, 30]) {
      written.begin(false, at);
      written.failed();
      expect(written).toMatchObject({ any: true, bytes: 4 * MiB, sinceMs: 1 });
    }
    written.begin(false, 40);
    written.sealed();
    expect(written).toMatchObject({ any: false, bytes: 0 });
  });

  test('is something where regions were marked for what is to come', () => {
    const written = unsealed();
    written.note(0, 4096, 1);
    written.begin(true, 10);
    written.sealed();
    expect(written).toMatchObject({ any: true, sinceMs: 10 });
  });
});
