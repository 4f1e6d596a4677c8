import { existsSync, mkdtempSync, readlinkSync, rmSync } from 'node:fs';
import { type FileHandle, open, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { withPartialFile } from '../../../src/cli/copy/partial-file.js';

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'rawstor-durable-'));
});
afterEach(() => rmSync(root, { recursive: true }));

it('makes a file durable before it has its name, and the name before it answers', async () => {
  const file = join(root, 'out.raw');
  const probe = await open(root, 'r');
  const prototype = Object.getPrototypeOf(probe) as FileHandle;
  await probe.close();
  const synced: string[] = [];
  const sync = prototype.sync;
  const spy = vi.spyOn(prototype, 'sync').mockImplementation(function (this: FileHandle) {
    synced.push(`${readlinkSync(`/proc/self/fd/${this.fd}`)} ${existsSync(file)}`);
    return sync.call(this);
  });
  try {
    await withPartialFile(file, (partial) => writeFile(partial, 'whole'));
  } finally {
    spy.mockRestore();
  }
  expect(synced).toEqual([`${file}.rawstor-partial false`, `${root} true`]);
});
