import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
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

it('is made by one at a time', async () => {
  const file = join(root, 'out.raw');
  let begun = () => {};
  const isBegun = new Promise<void>((resolve) => {
    begun = resolve;
  });
  let goOn = () => {};
  const mayGoOn = new Promise<void>((resolve) => {
    goOn = resolve;
  });
  const first = withPartialFile(file, async (partial) => {
    begun();
    await mayGoOn;
    await writeFile(partial, 'whole');
  });
  await isBegun;
  for (const keep of [false, true]) {
    const second = withPartialFile(file, (partial) => writeFile(partial, 'ha'), { keep });
    await expect(second).rejects.toMatchObject({ code: 'BUSY' });
  }
  goOn();
  await first;
  expect(readFileSync(file, 'utf8')).toBe('whole');
  expect(readdirSync(root)).toEqual(['out.raw']);
  await withPartialFile(file, (partial) => writeFile(partial, 'next'));
  expect(readFileSync(file, 'utf8')).toBe('next');
});

it("takes no other's file for the one that it has written", async () => {
  const file = join(root, 'out.raw');
  const other = join(root, 'other');
  const made = withPartialFile(file, async (partial) => {
    writeFileSync(other, 'ha');
    rmSync(partial);
    // A file system without locks: another has begun.
    writeFileSync(partial, 'ha');
  });
  await expect(made).rejects.toMatchObject({ code: 'BUSY' });
  expect(readdirSync(root).sort()).toEqual(['other', 'out.raw.rawstor-partial']);
});
