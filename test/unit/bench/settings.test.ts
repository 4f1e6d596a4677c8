import { tmpdir } from 'node:os';
import { expect, test } from 'vitest';
import { CASES } from '../../../bench/cases.js';
import { estimateMinutes, settingsOf, type Wishes } from '../../../bench/settings.js';

const NONE: Wishes = {
  quick: false,
  dir: tmpdir(),
  size: undefined,
  rounds: undefined,
  seconds: undefined,
};

test('replicated random cases run for a minute over 16 GiB, or over what the disk holds of them and says so', async () => {
  const settings = await settingsOf('replicated3', 2, NONE);
  expect(settings).toMatchObject({ rounds: 3, seconds: { random: 60, sequential: 8 } });
  expect(settings.sizeBytes < 16 * 2 ** 30).toBe(settings.remarks.length === 1);
  expect(settings.sizeBytes).toBeLessThanOrEqual(16 * 2 ** 30);
});

test('quick is short, and wishes come first', async () => {
  const quick = await settingsOf('replicated3', 2, { ...NONE, quick: true });
  expect(quick).toMatchObject({ rounds: 3, seconds: { random: 2, sequential: 2 }, sizeBytes: 2 ** 28 });
  const wished = await settingsOf('local', 4, { ...NONE, size: 64, rounds: 7, seconds: 1 });
  expect(wished).toMatchObject({ rounds: 7, seconds: { random: 1, sequential: 1 }, sizeBytes: 2 ** 26 });
});

test('the estimate counts every server, round and case', async () => {
  const settings = await settingsOf('local', 4, { ...NONE, size: 64, rounds: 5, seconds: 8 });
  // 13 cases of 10 s, 5 rounds, 4 servers, and four short fills.
  expect(estimateMinutes('local', 4, CASES, settings)).toBe(44);
});
