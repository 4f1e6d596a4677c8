import { mkdtempSync, realpathSync, rmdirSync, symlinkSync, unlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { type Clock, systemClock } from '../../../src/common/clock.js';
import { canonicalDirectory, MountLock } from '../../../src/fuse/mount-lock.js';

/** Whose waits are over at once. */
function hurried(): Clock {
  let nowMs = 0;
  return {
    ...systemClock,
    nowMs: () => nowMs,
    sleep: async (ms: number) => {
      nowMs += ms;
    },
  } as Clock;
}

test('a directory is mounted by one process at a time, the next is the same holder', async () => {
  const directory = realpathSync(mkdtempSync(join(tmpdir(), 'rawstor-lock-')));
  const link = `${directory}-link`;
  symlinkSync(directory, link);
  expect(canonicalDirectory(link)).toBe(directory);
  expect(canonicalDirectory(join(link, 'absent'))).toBe(join(directory, 'absent'));
  const one = await MountLock.take(systemClock, directory, 'mount@host');
  await expect(MountLock.take(hurried(), directory, 'mount@host')).rejects.toMatchObject({ code: 'BUSY' });
  const other = await MountLock.take(systemClock, `${directory}/b`, `mount@host ${'x'.repeat(300)}`);
  expect(other.holder.length).toBeLessThan(256);
  one.release();
  const two = await MountLock.take(systemClock, directory, 'mount@host');
  expect(two.holder).toBe(one.holder);
  for (const lock of [two, other]) lock.release();
  unlinkSync(link);
  rmdirSync(directory);
});
