import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { BlockOp, FaultDevice, MemoryDevice } from '../../../src/block/index.js';
import { exportToFile, exportToStream } from '../../../src/cli/copy/export-raw.js';
import { formatOf, inspectImage } from '../../../src/cli/copy/image-format.js';
import { importRaw, piecesOf } from '../../../src/cli/copy/import-raw.js';
import { zeroRuns } from '../../../src/cli/copy/zero-runs.js';
import { systemClock } from '../../../src/common/clock.js';
import { systemRandom } from '../../../src/common/random.js';
import { createIo, type Io } from '../../../src/io/index.js';

const KiB = 1024;
const MiB = 1024 * KiB;
const quiet = () => ({ signal: new AbortController().signal, onProgress: () => {}, holesKnown: true });

let io: Io;
let root: string;
beforeAll(() => {
  io = createIo({ poolBytes: 16 * MiB });
  root = mkdtempSync(join(tmpdir(), 'rawstor-copy-'));
});
afterAll(async () => {
  await io.close();
  rmSync(root, { recursive: true });
});

const memory = (sizeBytes: number) => new MemoryDevice(io, { sizeBytes });

function pattern(sizeBytes: number, seed: number): Buffer {
  return Buffer.from(Uint8Array.from({ length: sizeBytes }, (_, i) => (i * 31 + (i >> 8) * 7 + seed) & 0xff));
}

describe('runs of zeros', () => {
  it('cover the bytes and tell the truth', () => {
    const block = fc.constantFrom(Buffer.alloc(4 * KiB), pattern(4 * KiB, 1));
    fc.assert(
      fc.property(fc.array(block, { maxLength: 12 }), fc.integer({ min: 0, max: 600 }), (blocks, tail) => {
        const bytes = Buffer.concat([...blocks, Buffer.alloc(tail)]);
        let at = 0;
        let before: boolean | null = null;
        for (const run of zeroRuns(bytes)) {
          expect(run.from).toBe(at);
          expect(run.zero).not.toBe(before);
          expect(bytes.subarray(run.from, run.to).every((byte) => byte === 0)).toBe(run.zero);
          at = run.to;
          before = run.zero;
        }
        expect(at).toBe(bytes.length);
      }),
    );
  });
});

describe('pieces of a file', () => {
  it('cover it by holes and data', () => {
    // Data at [2 MiB, 4.5 MiB) and [7 MiB, end).
    const data = [
      [2 * MiB, 4.5 * MiB],
      [7 * MiB, 8 * MiB + 100],
    ] as const;
    const end = 8 * MiB + 100;
    const file = {
      seekData: (offset: number) =>
        data.map(([from, to]) => (offset < to ? Math.max(from, offset) : end)).sort((a, b) => a - b)[0]!,
      seekHole: (offset: number) => data.find(([from, to]) => offset >= from && offset < to)?.[1] ?? offset,
    };
    expect([...piecesOf(file, end)]).toEqual([
      { offset: 0, length: 2 * MiB, hole: true },
      { offset: 2 * MiB, length: MiB, hole: false },
      { offset: 3 * MiB, length: MiB, hole: false },
      { offset: 4 * MiB, length: 0.5 * MiB, hole: false },
      { offset: 4.5 * MiB, length: 2.5 * MiB, hole: true },
      { offset: 7 * MiB, length: MiB, hole: false },
      { offset: 8 * MiB, length: 100, hole: false },
    ]);
  });
});

describe('copies', () => {
  const size = 12 * MiB;
  const image = Buffer.alloc(size);
  pattern(100 * KiB, 3).copy(image, 0);
  pattern(3 * MiB, 4).copy(image, 5 * MiB + 4 * KiB);
  pattern(512, 5).copy(image, size - 512);

  it('go in and out unchanged', async () => {
    writeFileSync(join(root, 'in.raw'), image);
    const device = memory(size);
    const source = await io.openFile(join(root, 'in.raw'), { readOnly: true });
    await importRaw(source, device, { io, sizeBytes: size, deviceIsEmpty: true, ...quiet() });
    await source.close();
    const target = await io.openFile(join(root, 'out.raw'), { create: true });
    await exportToFile(device, target, { io, ...quiet() });
    expect(target.sizeBytes()).toBe(size);
    expect(target.allocatedBytes()).toBeLessThan(4 * MiB);
    await target.close();
    const parts: Buffer[] = [];
    const stream = new Writable({
      write(chunk: Buffer, _encoding, done) {
        // Later: whoever reuses the bytes before the callback is caught.
        setImmediate(() => {
          parts.push(Buffer.from(chunk));
          done();
        });
      },
    });
    let doneBytes = 0;
    await exportToStream(device, stream, { io, ...quiet(), onProgress: (bytes) => (doneBytes = bytes) });
    expect(doneBytes).toBe(size);
    expect(Buffer.concat(parts).equals(image)).toBe(true);
    expect(readFileSync(join(root, 'out.raw')).equals(image)).toBe(true);
  });

  it('write zeros over what was there', async () => {
    const device = memory(size);
    const full = join(root, 'full.raw');
    writeFileSync(full, pattern(size, 9));
    for (const name of [full, join(root, 'in.raw')]) {
      const source = await io.openFile(name, { readOnly: true });
      await importRaw(source, device, { io, sizeBytes: size, deviceIsEmpty: false, ...quiet() });
      await source.close();
    }
    const parts: Buffer[] = [];
    const stream = new Writable({
      write(chunk: Buffer, _encoding, done) {
        parts.push(Buffer.from(chunk));
        done();
      },
    });
    await exportToStream(device, stream, { io, ...quiet() });
    expect(Buffer.concat(parts).equals(image)).toBe(true);
  });

  it('end with the first error, when aborted, and give all memory back', async () => {
    const before = io.pool.usedBytes;
    const source = await io.openFile(join(root, 'full.raw'), { readOnly: true });
    const broken = new FaultDevice(memory(size), { io, clock: systemClock, random: systemRandom });
    broken.setRules({ op: BlockOp.WRITE, error: 'NO_SPACE', skip: 5 });
    const copy = importRaw(source, broken, { io, sizeBytes: size, deviceIsEmpty: true, ...quiet() });
    await expect(copy).rejects.toMatchObject({ code: 'NO_SPACE' });
    const controller = new AbortController();
    const aborted = importRaw(source, memory(size), {
      io,
      sizeBytes: size,
      holesKnown: false,
      deviceIsEmpty: true,
      signal: controller.signal,
      onProgress: () => controller.abort(new Error('enough')),
    });
    await expect(aborted).rejects.toThrow('enough');
    const shorter = importRaw(source, memory(2 * size), {
      io,
      sizeBytes: size + 3 * MiB,
      deviceIsEmpty: true,
      ...quiet(),
    });
    await expect(shorter).rejects.toMatchObject({ code: 'BAD_DATA' });
    await source.close();
    expect(io.pool.usedBytes).toBe(before);
  });
});

describe('formats', () => {
  it('are told by their first bytes', () => {
    const head = (at: number, ...bytes: number[]) => {
      const buffer = Buffer.alloc(4096);
      buffer.set(bytes, at);
      return buffer;
    };
    expect(formatOf(head(0, 0x51, 0x46, 0x49, 0xfb, 0, 0, 0, 3))).toBe('qcow2');
    expect(formatOf(head(0, 0x51, 0x46, 0x49, 0xfb, 0, 0, 0, 1))).toBe('qcow');
    expect(formatOf(head(0x40, 0x7f, 0x10, 0xda, 0xbe))).toBe('vdi');
    expect(formatOf(Buffer.from('KDMV'))).toBe('vmdk');
    expect(formatOf(head(1, 0x51, 0x46, 0x49, 0xfb))).toBe('raw');
    expect(formatOf(Buffer.alloc(0))).toBe('raw');
  });

  it('are told of files only', () => {
    expect(inspectImage(join(root, 'full.raw'))).toMatchObject({
      format: 'raw',
      sizeBytes: 12 * MiB,
      isDisk: false,
    });
    expect(() => inspectImage(root)).toThrow(expect.objectContaining({ code: 'USAGE' }));
    expect(() => inspectImage(join(root, 'none'))).toThrow(expect.objectContaining({ code: 'NOT_FOUND' }));
  });
});
