import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { FileOp, SliceList } from '../../../src/io/index.js';
import { atEnd, KINDS, openIo, pattern, perform, slice, temporaryDirectory, view } from './support.js';

const ENOSPC = -28;

describe.each(KINDS)('files on %s', (kind) => {
  it('writes what it reads back, buffered and direct', async () => {
    const io = openIo(kind);
    for (const direct of [false, true]) {
      const path = join(temporaryDirectory(), 'f');
      const file = await io.openFile(path, { create: true, direct });
      const [from, to] = [io.pool.acquire(65536)!, io.pool.acquire(65536)!];
      pattern(65536, 3).copy(view(from));
      expect(await perform(file, 'write', 8192, slice(from))).toBe(65536);
      expect(await perform(file, 'sync', 0)).toBe(0);
      expect(await perform(file, 'read', 8192, slice(to))).toBe(65536);
      expect(view(to).equals(view(from))).toBe(true);
      expect(readFileSync(path).subarray(8192).equals(view(from))).toBe(true);
      expect(file.sizeBytes()).toBe(8192 + 65536);
      from.release();
      to.release();
      await file.close();
    }
  });

  it('gathers and scatters many slices, more than one system call takes', async () => {
    const io = openIo(kind);
    const path = join(temporaryDirectory(), 'f');
    const file = await io.openFile(path, { create: true });
    const from = io.pool.acquire(1 << 20)!;
    const to = io.pool.acquire(1 << 20)!;
    pattern(1 << 20, 5).copy(view(from));
    const [gather, scatter] = [new SliceList(), new SliceList()];
    const expected: Buffer[] = [];
    for (let i = 0; i < 2500; i++) {
      const length = (i % 7) * 50;
      const at = ((i * 379) % 2000) * 512;
      gather.add(from.memory, from.offset + at, length);
      scatter.add(to.memory, to.offset + i * 400, length);
      expected.push(Buffer.from(view(from).subarray(at, at + length)));
    }
    expect(await perform(file, 'write', 123, gather)).toBe(gather.lengthBytes);
    expect(readFileSync(path).subarray(123).equals(Buffer.concat(expected))).toBe(true);
    expect(await perform(file, 'read', 123, scatter)).toBe(gather.lengthBytes);
    expect(scatter.toBuffer().equals(Buffer.concat(expected))).toBe(true);
  });

  it('stops reading at the end of the file', async () => {
    const io = openIo(kind);
    const path = join(temporaryDirectory(), 'f');
    writeFileSync(path, pattern(5000, 1));
    const buffer = io.pool.acquire(16384)!;
    for (const direct of [false, true]) {
      const file = await io.openFile(path, { readOnly: true, direct });
      expect(await perform(file, 'read', 0, slice(buffer))).toBe(5000);
      expect(await perform(file, 'read', 4096, slice(buffer))).toBe(904);
      expect(await perform(file, 'read', 8192, slice(buffer))).toBe(0);
    }
  });

  it('ends operations without bytes', async () => {
    const io = openIo(kind);
    const file = await io.openFile(join(temporaryDirectory(), 'f'), { create: true });
    const buffer = io.pool.acquire(1)!;
    for (const slices of [new SliceList(), slice(buffer, 0)]) {
      expect(await perform(file, 'read', 0, slices)).toBe(0);
      expect(await perform(file, 'write', 0, slices)).toBe(0);
    }
    expect(await perform(file, 'punch', 0)).toBe(0);
    expect(await perform(file, 'writeback', 0)).toBe(0);
  });

  it('punches holes and finds data', async () => {
    const io = openIo(kind);
    const file = await io.openFile(join(temporaryDirectory(), 'f'), { create: true });
    const buffer = io.pool.acquire(65536)!;
    view(buffer).fill(9);
    await perform(file, 'write', 0, slice(buffer));
    await perform(file, 'sync', 0);
    const allocated = file.allocatedBytes();
    expect(await perform(file, 'punch', 8192, new SliceList(), 16384)).toBe(0);
    expect(file.sizeBytes()).toBe(65536);
    expect(file.allocatedBytes()).toBe(allocated - 16384);
    expect(file.seekHole(0)).toBe(8192);
    expect(file.seekData(8192)).toBe(24576);
    expect(file.seekData(70000)).toBe(65536);
    expect(file.seekHole(65536)).toBe(65536);
    await perform(file, 'read', 0, slice(buffer));
    expect(
      view(buffer)
        .subarray(8192, 24576)
        .every((byte) => byte === 0),
    ).toBe(true);
    expect(view(buffer)[8191]).toBe(9);
    expect(view(buffer)[24576]).toBe(9);
    expect(await perform(file, 'writeback', 0, new SliceList(), 65536)).toBe(0);
  });

  it('reads and writes beyond 4 GiB', async () => {
    const io = openIo(kind);
    const path = join(temporaryDirectory(), 'f');
    writeFileSync(path, '');
    truncateSync(path, 2 ** 40);
    const far = 2 ** 39 + 4096 * 5;
    const buffer = io.pool.acquire(4096)!;
    for (const direct of [false, true]) {
      const file = await io.openFile(path, { direct });
      pattern(4096, direct ? 1 : 2).copy(view(buffer));
      expect(await perform(file, 'write', far, slice(buffer))).toBe(4096);
      view(buffer).fill(0);
      expect(await perform(file, 'read', far, slice(buffer))).toBe(4096);
      expect(view(buffer).equals(pattern(4096, direct ? 1 : 2))).toBe(true);
      await perform(file, 'sync', 0);
      expect(file.seekData(0)).toBe(far);
    }
  });

  it('reports a full disk as errno, whole write or error', async () => {
    const io = openIo(kind);
    const file = await io.openFile('/dev/full', {});
    const buffer = io.pool.acquire(4096)!;
    expect(await perform(file, 'write', 0, slice(buffer))).toBe(ENOSPC);
    const two = new SliceList();
    two.add(buffer.memory, buffer.offset, 100);
    two.add(buffer.memory, buffer.offset, 100);
    expect(await perform(file, 'write', 0, two)).toBe(ENOSPC);
  });

  it.runIf(process.getuid?.() === 0)('fills a small disk until it is full', async () => {
    const mount = join(temporaryDirectory(), 'm');
    mkdirSync(mount);
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=256k', 'tmpfs', mount]);
    atEnd(() => execFileSync('umount', ['-l', mount]));
    const io = openIo(kind);
    const file = await io.openFile(join(mount, 'f'), { create: true });
    const buffer = io.pool.acquire(65536)!;
    const results = await Promise.all(
      [0, 1, 2, 3, 4, 5].map((i) => perform(file, 'write', i * 65536, slice(buffer))),
    );
    expect(results.filter((result) => result === 65536).length).toBeGreaterThanOrEqual(3);
    expect(results.at(-1)).toBe(ENOSPC);
    await file.close();
  });

  it('keeps many writes of one turn apart and tells each owner once', async () => {
    const io = openIo(kind);
    const path = join(temporaryDirectory(), 'f');
    const file = await io.openFile(path, { create: true });
    const buffer = io.pool.acquire(65536)!;
    pattern(65536, 8).copy(view(buffer));
    const done = new Map<number, number>();
    const owner = {
      fileDone: (op: FileOp, result: number) => {
        done.set(op.fileOffset, (done.get(op.fileOffset) ?? 0) + result);
      },
    };
    const count = 3000;
    for (let i = 0; i < count; i++) {
      const op = new FileOp(owner, slice(buffer, 16, (i * 16) % 65536));
      op.fileOffset = i * 16;
      file.write(op);
    }
    expect(done.size).toBe(0);
    while (done.size < count) await new Promise((resolve) => setImmediate(resolve));
    expect([...done.values()].every((result) => result === 16)).toBe(true);
    const written = readFileSync(path);
    for (let at = 0; at < written.length; at += 16) {
      expect(written.compare(view(buffer), at % 65536, (at % 65536) + 16, at, at + 16)).toBe(0);
    }
  });

  it('an owner that throws does not lose the others', async () => {
    const io = openIo(kind);
    const file = await io.openFile(join(temporaryDirectory(), 'f'), { create: true });
    const buffer = io.pool.acquire(4096)!;
    const caught: unknown[] = [];
    const listeners = process.listeners('uncaughtException');
    process.removeAllListeners('uncaughtException');
    process.on('uncaughtException', (error) => caught.push(error));
    atEnd(() => {
      process.removeAllListeners('uncaughtException');
      for (const listener of listeners) process.on('uncaughtException', listener);
    });
    const done: string[] = [];
    for (const action of ['write', 'read'] as const) {
      for (let i = 0; i < 4; i++) {
        const owner = {
          fileDone: () => {
            done.push(`${action} ${i}`);
            if (i === 1) throw new Error('owner');
          },
        };
        file[action](new FileOp(owner, slice(buffer)));
      }
    }
    while (done.length < 8) await new Promise((resolve) => setTimeout(resolve, 1));
    expect(done.sort()).toEqual([
      'read 0',
      'read 1',
      'read 2',
      'read 3',
      'write 0',
      'write 1',
      'write 2',
      'write 3',
    ]);
    expect(caught.map((error) => (error as Error).message)).toEqual(['owner', 'owner']);
  });

  it('names the path when a file cannot be opened', async () => {
    const io = openIo(kind);
    const path = join(temporaryDirectory(), 'none');
    await expect(io.openFile(path, {})).rejects.toMatchObject({ code: 'NOT_FOUND', where: path });
    writeFileSync(path, '');
    await expect(io.openFile(path, { create: true, exclusive: true })).rejects.toMatchObject({
      code: 'EXISTS',
    });
  });

  it('truncates', async () => {
    const io = openIo(kind);
    const file = await io.openFile(join(temporaryDirectory(), 'f'), { create: true });
    await file.truncate(1 << 20);
    expect(file.sizeBytes()).toBe(1 << 20);
    expect(file.allocatedBytes()).toBe(0);
  });
});
