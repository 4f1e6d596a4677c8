import { expect, test } from 'vitest';
import { type ErrorCode, RawstorError } from '../../../src/common/errors.js';
import { silentLogger } from '../../../src/common/log.js';
import { Removals } from '../../../src/fuse/removals.js';

test('a removal that was answered is tried until it is done, unless somebody has taken the file since', async () => {
  const failures: Record<string, ErrorCode[]> = {
    away: ['TIMEOUT', 'UNAVAILABLE'],
    taken: ['BUSY'],
    gone: ['NOT_FOUND'],
  };
  const asked: string[] = [];
  const store = {
    remove: async (id: string) => {
      asked.push(id);
      const code = failures[id]?.shift();
      if (code !== undefined) throw new RawstorError(code, 'not now');
    },
  };
  const removals = new Removals({ store, log: silentLogger });
  const first = Promise.all(['at once', 'away', 'taken', 'gone'].map((id) => removals.remove(id, id)));
  expect(removals.has('at once')).toBe(true);
  await first;
  expect(['at once', 'away', 'taken', 'gone'].filter((id) => removals.has(id))).toEqual(['away']);
  await removals.tryAgain();
  expect(removals.has('away')).toBe(true);
  await removals.tryAgain();
  await removals.tryAgain();
  expect(removals.has('away')).toBe(false);
  expect(asked).toEqual(['at once', 'away', 'taken', 'gone', 'away', 'away']);
});
