import { WriteStream } from 'node:fs';
import type { Writable } from 'node:stream';
import { type BlockDevice, BlockOp } from '../../block/index.js';
import { asRawstorError, RawstorError } from '../../common/errors.js';
import type { IoFile } from '../../io/index.js';
import { type Piece, piecesOf, type ReadOptions, readInOrder, taking } from './device-pieces.js';
import { inLanes, Lane, PIECE_BYTES } from './lane.js';
import type { Checkpoints } from './resumable-file.js';
import { zeroRuns } from './zero-runs.js';

export interface ExportOptions extends ReadOptions {
  onProgress(doneBytes: number): void;
}

/** A copy that can be gone on with: everything before `fromBytes` is in the file. */
export interface Resuming {
  readonly fromBytes: number;
  readonly checkpoints: Checkpoints;
}

/** Copies a device to a file, an empty one or one with a part of it; what is zero stays a hole. */
export async function exportToFile(
  device: BlockDevice,
  file: IoFile,
  options: ExportOptions,
  resuming?: Resuming,
): Promise<void> {
  const { io, signal, pace } = options;
  const { fromBytes = 0, checkpoints } = resuming ?? {};
  await file.truncate(device.sizeBytes);
  let doneBytes = fromBytes;
  const order = new RisingOrder(fromBytes);
  const next = order.of(taking(piecesOf(device, fromBytes)));
  await inLanes(io, signal, next, async (lane, piece) => {
    if (!piece.zero) {
      await pace?.(piece.length);
      await lane.device(device, BlockOp.READ, piece.offset, piece.length);
      for (const { from, to, zero } of zeroRuns(lane.bytes(0, piece.length))) {
        if (!zero) await lane.writeFile(file, piece.offset + from, from, to - from);
      }
    }
    order.done(piece);
    doneBytes += piece.length;
    options.onProgress(doneBytes);
    await checkpoints?.look(async () => {
      // Looked at first: the sync covers what was written before it.
      const { doneUntil } = order;
      await lane.syncFile(file);
      return doneUntil;
    });
  });
  const lane = new Lane(io);
  try {
    await lane.syncFile(file);
  } finally {
    lane.release();
  }
}

/** How far everything is done, of steps that begin in rising order and end in any. */
class RisingOrder {
  private readonly begun = new Set<number>();
  private reached: number;

  constructor(from: number) {
    this.reached = from;
  }

  of(next: () => Promise<Piece | null>): () => Promise<Piece | null> {
    return async () => {
      const piece = await next();
      if (piece !== null) {
        this.begun.add(piece.offset);
        this.reached = piece.offset + piece.length;
      }
      return piece;
    };
  }

  done({ offset }: Piece): void {
    this.begun.delete(offset);
  }

  get doneUntil(): number {
    return this.begun.size === 0 ? this.reached : Math.min(...this.begun);
  }
}

/** Writes a device to a pipe in order, reading ahead. Zeros are written as such: a pipe has no holes. */
export async function exportToStream(
  device: BlockDevice,
  stream: Writable,
  options: ExportOptions,
): Promise<void> {
  const zeroes = Buffer.alloc(PIECE_BYTES);
  let doneBytes = 0;
  await readInOrder(device, piecesOf(device), options, async (piece, lane) => {
    for (let from = 0; from < piece.length; from += PIECE_BYTES) {
      const length = Math.min(PIECE_BYTES, piece.length - from);
      // Waited for: the buffer is the lane's again after this.
      const bytes = piece.zero ? zeroes.subarray(0, length) : lane.bytes(0, length);
      await writeTo(stream, bytes, options.signal);
      doneBytes += length;
      options.onProgress(doneBytes);
    }
  });
}

/** Resolves when the bytes have been taken. Aborted, it waits for no reader, who may have stopped for good. */
export function writeTo(stream: Writable, bytes: Buffer, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const stop = () => reject(signal.reason);
    if (signal.aborted) return stop();
    signal.addEventListener('abort', stop, { once: true });
    stream.write(bytes, (error) => {
      signal.removeEventListener('abort', stop);
      if (error) reject(streamError(stream, error));
      else resolve();
    });
  });
}

function streamError(stream: Writable, error: Error): RawstorError {
  const file = stream instanceof WriteStream ? String(stream.path) : 'standard output';
  if ((error as NodeJS.ErrnoException).code !== 'EPIPE') return asRawstorError(error, file);
  return new RawstorError('CONNECTION_LOST', 'whoever reads the output has ended before it was whole', {
    where: 'standard output',
    hint: 'see what that program says; to read only a part, use an NBD client such as nbdcopy or qemu-io',
    cause: error,
  });
}
