import type { Writable } from 'node:stream';
import { type BlockDevice, BlockOp } from '../../block/index.js';
import { asRawstorError, RawstorError } from '../../common/errors.js';
import { LIMITS } from '../../common/limits.js';
import type { Io, IoFile } from '../../io/index.js';
import { inLanes, LANES, Lane, PIECE_BYTES } from './lane.js';
import { zeroRuns } from './zero-runs.js';

export interface ExportOptions {
  readonly io: Io;
  readonly signal: AbortSignal;
  onProgress(doneBytes: number): void;
}

interface Piece {
  readonly offset: number;
  readonly length: number;
  readonly zero: boolean;
}

/** Copies a device to an empty file of its size; what is zero stays a hole. */
export async function exportToFile(device: BlockDevice, file: IoFile, options: ExportOptions): Promise<void> {
  const { io, signal } = options;
  await file.truncate(device.sizeBytes);
  let doneBytes = 0;
  const next = pieceSource(device);
  await inLanes(io, signal, next, async (lane, piece) => {
    if (!piece.zero) {
      await lane.device(device, BlockOp.READ, piece.offset, piece.length);
      for (const { from, to, zero } of zeroRuns(lane.bytes(0, piece.length))) {
        if (!zero) await lane.writeFile(file, piece.offset + from, from, to - from);
      }
    }
    doneBytes += piece.length;
    options.onProgress(doneBytes);
  });
  const lane = new Lane(io);
  try {
    await lane.syncFile(file);
  } finally {
    lane.release();
  }
}

/** Writes a device to a pipe in order, reading ahead. Zeros are written as such: a pipe has no holes. */
export async function exportToStream(
  device: BlockDevice,
  stream: Writable,
  options: ExportOptions,
): Promise<void> {
  const { io, signal } = options;
  const next = pieceSource(device);
  const zeroes = Buffer.alloc(PIECE_BYTES);
  const lanes = Array.from({ length: LANES }, () => new Lane(io));
  const queue: { lane: Lane; piece: Piece; read: Promise<void> }[] = [];
  let doneBytes = 0;
  const ahead = async (lane: Lane) => {
    const piece = await next();
    if (piece === null) return;
    const read = piece.zero
      ? Promise.resolve()
      : lane.device(device, BlockOp.READ, piece.offset, piece.length);
    // Its failure is seen when its turn comes.
    read.catch(() => {});
    queue.push({ lane, piece, read });
  };
  try {
    for (const lane of lanes) await ahead(lane);
    for (let head = queue.shift(); head !== undefined; head = queue.shift()) {
      signal.throwIfAborted();
      const { lane, piece } = head;
      await head.read;
      for (let from = 0; from < piece.length; from += PIECE_BYTES) {
        const length = Math.min(PIECE_BYTES, piece.length - from);
        // Waited for: the buffer is the lane's again after this.
        await write(stream, piece.zero ? zeroes.subarray(0, length) : lane.bytes(0, length));
        doneBytes += length;
        options.onProgress(doneBytes);
      }
      await ahead(lane);
    }
  } finally {
    await Promise.allSettled(queue.map((entry) => entry.read));
    for (const lane of lanes) lane.release();
  }
}

function write(stream: Writable, bytes: Buffer): Promise<void> {
  return new Promise((resolve, reject) => {
    stream.write(bytes, (error) => (error ? reject(pipeError(error)) : resolve()));
  });
}

function pipeError(error: Error): RawstorError {
  if ((error as NodeJS.ErrnoException).code !== 'EPIPE') return asRawstorError(error, 'standard output');
  return new RawstorError('CONNECTION_LOST', 'whoever reads the output has ended before it was whole', {
    where: 'standard output',
    hint: 'see what that program says; to read only a part, use an NBD client such as nbdcopy or qemu-io',
    cause: error,
  });
}

/** Steps over a device, one after another however many ask. */
function pieceSource(device: BlockDevice): () => Promise<Piece | null> {
  const pieces = piecesOf(device);
  let turn: Promise<unknown> = Promise.resolve();
  return () => {
    const piece = turn.then(async () => {
      const { value, done } = await pieces.next();
      return done === true ? null : value;
    });
    turn = piece.catch(() => {});
    return piece;
  };
}

async function* piecesOf(device: BlockDevice): AsyncGenerator<Piece, undefined> {
  let offset = 0;
  while (offset < device.sizeBytes) {
    const asked = Math.min(device.sizeBytes - offset, LIMITS.rangeBytes);
    for (const extent of await device.extents(offset, asked)) {
      const end = Math.min(offset + extent.lengthBytes, device.sizeBytes);
      while (offset < end) {
        const length = extent.zero ? end - offset : Math.min(end - offset, PIECE_BYTES);
        yield { offset, length, zero: extent.zero };
        offset += length;
      }
    }
  }
}
