import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach } from 'vitest';
import {
  createIo,
  FileOp,
  type FrameHandler,
  type Io,
  type IoFile,
  type Memory,
  type PoolBuffer,
  SliceList,
  type Stream,
} from '../../../src/io/index.js';

export const KINDS = ['uring', 'node'] as const;
export type Kind = (typeof KINDS)[number];

const cleanUps: (() => unknown)[] = [];

afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp();
});

export function atEnd(cleanUp: () => unknown): void {
  cleanUps.push(cleanUp);
}

export function temporaryDirectory(): string {
  const path = mkdtempSync(join(tmpdir(), 'rawstor-io-'));
  atEnd(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

/** An Io that is closed when the test ends. */
export function openIo(kind: Kind, options: { poolBytes?: number; ringEntries?: number } = {}): Io {
  const io = createIo({ kind, poolBytes: 32 * 1024 * 1024, ...options });
  atEnd(() => io.close());
  return io;
}

export type FileAction = 'read' | 'write' | 'sync' | 'punch' | 'writeback';

/** One file operation as a promise of its result. */
export function perform(
  file: IoFile,
  action: FileAction,
  fileOffset: number,
  slices = new SliceList(),
  lengthBytes = 0,
): Promise<number> {
  return new Promise((resolve, reject) => {
    let submitting = true;
    const owner = {
      fileDone: (_: FileOp, result: number) => {
        if (submitting) reject(new Error('done from within submit'));
        else resolve(result);
      },
    };
    const op = new FileOp(owner, slices);
    op.fileOffset = fileOffset;
    op.lengthBytes = lengthBytes;
    file[action](op);
    submitting = false;
  });
}

/** A pool buffer as one slice. */
export function slice(buffer: PoolBuffer, lengthBytes = buffer.sizeBytes, skip = 0): SliceList {
  const slices = new SliceList();
  slices.add(buffer.memory, buffer.offset + skip, lengthBytes);
  return slices;
}

export function view(buffer: PoolBuffer, lengthBytes = buffer.sizeBytes): Buffer {
  return buffer.memory.bytes.subarray(buffer.offset, buffer.offset + lengthBytes);
}

/** Frames of a 4-byte length and so many bytes. Hands every frame to `onFrame`. */
export class LengthFrames implements FrameHandler {
  readonly headerBytes = 4;
  onFrame: (buffer: PoolBuffer | null, offset: number, lengthBytes: number) => void;

  constructor(onFrame: LengthFrames['onFrame']) {
    this.onFrame = onFrame;
  }

  header(memory: Memory, offset: number): number {
    return memory.bytes.readUInt32LE(offset);
  }

  frame(buffer: PoolBuffer | null, offset: number, lengthBytes: number): void {
    this.onFrame(buffer, offset, lengthBytes);
  }
}

export function lengthHeader(lengthBytes: number): Buffer {
  const header = Buffer.alloc(4);
  header.writeUInt32LE(lengthBytes);
  return header;
}

export function sendFrame(stream: Stream, payload: Uint8Array): void {
  stream.sendCopy(lengthHeader(payload.length));
  if (payload.length > 0) stream.sendCopy(payload);
}

/** Two connected streams of the Io, over TCP or a Unix socket. */
export async function connectedPair(io: Io, transport: 'tcp' | 'unix' = 'tcp'): Promise<[Stream, Stream]> {
  const address = transport === 'tcp' ? 'tcp://127.0.0.1:0' : `unix:${join(temporaryDirectory(), 's')}`;
  let accept!: (stream: Stream) => void;
  const accepted = new Promise<Stream>((resolve) => {
    accept = resolve;
  });
  const listener = await io.listen(address, accept);
  const client = await io.connect(listener.address, { timeoutMs: 5000 });
  const server = await accepted;
  await listener.close();
  return [client, server];
}

export function whenClosed(stream: Stream): Promise<Error | null> {
  return new Promise((resolve) => {
    stream.onClose = resolve;
  });
}

export function pattern(lengthBytes: number, seed: number): Buffer {
  const bytes = Buffer.alloc(lengthBytes);
  for (let i = 0; i < lengthBytes; i++) bytes[i] = (i * 31 + seed * 17 + (i >> 8)) & 0xff;
  return bytes;
}

export async function until(condition: () => boolean, what: string, timeoutMs = 20_000): Promise<void> {
  const deadline = Date.now() + timeoutMs;
  while (!condition()) {
    if (Date.now() > deadline) throw new Error(`never happened: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}
