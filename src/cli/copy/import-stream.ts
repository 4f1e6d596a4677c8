import type { Readable } from 'node:stream';
import { type BlockDevice, BlockFlag, BlockOp } from '../../block/index.js';
import { asRawstorError, RawstorError } from '../../common/errors.js';
import { LIMITS } from '../../common/limits.js';
import type { Io } from '../../io/index.js';
import { checkNoDifference, formatOf } from './image-format.js';
import { inLanes, type Lane, PIECE_BYTES } from './lane.js';
import { zeroRuns } from './zero-runs.js';

export interface StreamImportOptions {
  readonly io: Io;
  /** The device reads as zeros everywhere: zeros need nothing. */
  readonly deviceIsEmpty: boolean;
  /** What it begins with is not looked at: it was said to be raw. */
  readonly anyContent: boolean;
  readonly signal: AbortSignal;
  /** Makes the device at least so large. @throws RawstorError when it stays as it is */
  grow(sizeBytes: number): Promise<void>;
  readonly pace?: (bytes: number) => Promise<void>;
  onProgress(doneBytes: number): void;
}

interface Piece {
  readonly offset: number;
  readonly bytes: Buffer;
}

/**
 * Copies a raw image to a device as it comes through a pipe; zeros take no space there.
 * @returns its bytes
 * @throws RawstorError USAGE when it is no raw image, BAD_DATA when it is empty, those of `grow` and of the device
 */
export async function importStream(
  source: Readable,
  device: BlockDevice,
  options: StreamImportOptions,
): Promise<number> {
  const { io, signal, grow, pace } = options;
  const bytes = inPieces(source, signal);
  let offset = 0;
  let doneBytes = 0;
  let turn: Promise<Piece | null> = Promise.resolve(null);
  const take = async (): Promise<Piece | null> => {
    const { value, done } = await bytes.next();
    if (done === true) return null;
    if (offset === 0 && !options.anyContent) checkRaw(value);
    const piece = { offset, bytes: value };
    offset += value.length;
    await pace?.(value.length);
    await grow(wholeSectors(offset));
    return piece;
  };
  // One after another: who asks first gets what comes first.
  const next = () => (turn = turn.then(take));
  let failure: unknown;
  const write = async (lane: Lane, piece: Piece): Promise<void> => {
    const length = wholeSectors(piece.bytes.length);
    const buffer = lane.bytes(0, length);
    piece.bytes.copy(buffer);
    buffer.fill(0, piece.bytes.length);
    for (const { from, to, zero } of zeroRuns(buffer)) {
      const at = piece.offset + from;
      if (!zero) await lane.device(device, BlockOp.WRITE, at, to - from, { at: from });
      else if (!options.deviceIsEmpty) {
        await lane.device(device, BlockOp.WRITE_ZEROES, at, to - from, { flags: BlockFlag.MAY_UNMAP });
      }
    }
    doneBytes += piece.bytes.length;
    options.onProgress(doneBytes);
  };
  try {
    await inLanes(io, signal, next, (lane, piece) =>
      write(lane, piece).catch((error: unknown) => {
        failure ??= error;
        // Nobody waits for a pipe that has nothing to say.
        source.destroy();
        throw error;
      }),
    );
  } catch (error) {
    throw failure ?? error;
  } finally {
    await bytes.return(undefined);
  }
  if (offset === 0) throw new RawstorError('BAD_DATA', 'the image is empty', { where: 'standard input' });
  return offset;
}

export function wholeSectors(bytes: number): number {
  return Math.ceil(bytes / LIMITS.sectorBytes) * LIMITS.sectorBytes;
}

/** All of the same length but the last. */
async function* inPieces(source: Readable, signal: AbortSignal): AsyncGenerator<Buffer, undefined> {
  // A pipe may have nothing for a long time.
  const stop = () => source.destroy(signal.reason as Error);
  signal.addEventListener('abort', stop);
  let parts: Buffer[] = [];
  let length = 0;
  try {
    for await (const chunk of source as AsyncIterable<Buffer>) {
      for (let at = 0; at < chunk.length; ) {
        const part = chunk.subarray(at, at + PIECE_BYTES - length);
        parts.push(part);
        length += part.length;
        at += part.length;
        if (length < PIECE_BYTES) continue;
        yield Buffer.concat(parts);
        parts = [];
        length = 0;
      }
    }
    if (length > 0) yield Buffer.concat(parts);
  } catch (error) {
    signal.throwIfAborted();
    throw asRawstorError(error, 'standard input');
  } finally {
    signal.removeEventListener('abort', stop);
    source.destroy();
  }
}

function checkRaw(first: Buffer): void {
  const format = formatOf(first);
  if (format === 'raw') return;
  checkNoDifference(format, 'standard input');
  throw new RawstorError('USAGE', `what comes through the pipe begins like a ${format} image`, {
    where: 'standard input',
    hint: `save it to a file and import that; a raw disk that just looks so: --format raw`,
  });
}
