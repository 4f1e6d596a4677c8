import { expect, test } from 'vitest';
import { checkTimeoutMs } from '../../../src/common/lmdb-check.js';

test('a database is given time by its size: 20 GiB, page by page from a slow disk, take hours', () => {
  expect(checkTimeoutMs(1 << 20)).toBeLessThan(302_000);
  expect(checkTimeoutMs(20 * 2 ** 30)).toBeGreaterThan(5 * 3_600_000);
});
