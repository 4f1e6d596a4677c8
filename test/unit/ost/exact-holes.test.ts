import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { smallDisk } from '../../fixtures/small-disk.js';
import { failure, openIo, start } from './support.js';

const { path: disk, mounted } = smallDisk('huge=always,size=64m');

// Only root may mount; a kernel without huge pages in tmpfs does not know the option.
test.runIf(mounted)('a file system that tells of more data than was written is refused', async () => {
  const dir = join(disk, 'ost');
  const error = await failure('NOT_SUPPORTED', start(openIo(), dir));
  expect(error.toUserText()).toContain('ext4, XFS or btrfs');
  expect(readdirSync(join(dir, 'chunks'))).toEqual([]);
});
