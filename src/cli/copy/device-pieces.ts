import { type BlockDevice, BlockOp, type Mark } from '../../block/index.js';
import { LIMITS } from '../../common/limits.js';
import type { Io } from '../../io/index.js';
import { LANES, Lane, PIECE_BYTES } from './lane.js';

/** A step over a device: data of a lane at most, or zeros of any length. */
export interface Piece {
  readonly offset: number;
  readonly length: number;
  readonly zero: boolean;
}

export interface ReadOptions {
  readonly io: Io;
  readonly signal: AbortSignal;
  /** Bounds how fast is read. */
  readonly pace?: (bytes: number) => Promise<void>;
}

/** The steps over a part of a device. */
export async function* piecesOf(
  device: BlockDevice,
  from = 0,
  until = device.sizeBytes,
): AsyncGenerator<Piece, undefined> {
  let offset = from;
  while (offset < until) {
    const asked = Math.min(until - offset, LIMITS.rangeBytes);
    for (const extent of await device.extents(offset, asked)) {
      const end = Math.min(offset + extent.lengthBytes, until);
      while (offset < end) {
        const length = extent.zero ? end - offset : Math.min(end - offset, PIECE_BYTES);
        yield { offset, length, zero: extent.zero };
        offset += length;
      }
    }
  }
}

/** A device that knows what of it has changed. */
export type LayeredDevice = BlockDevice & Required<Pick<BlockDevice, 'layers'>>;

/** Where it is not as it was. @throws RawstorError NOT_FOUND when the snapshot goes meanwhile */
export async function* changedRanges(
  device: LayeredDevice,
  since: Mark,
  begin = 0,
): AsyncGenerator<{ from: number; until: number }, undefined> {
  let offset = begin;
  while (offset < device.sizeBytes) {
    const asked = Math.min(device.sizeBytes - offset, LIMITS.rangeBytes);
    for (const { lengthBytes, depth } of await device.layers(since, offset, asked)) {
      const until = Math.min(offset + lengthBytes, device.sizeBytes);
      if (depth > 0) yield { from: offset, until };
      offset = until;
    }
  }
}

/** The steps over what is not as it was. @throws as `changedRanges` */
export async function* changedPieces(
  device: LayeredDevice,
  since: Mark,
  begin = 0,
): AsyncGenerator<Piece, undefined> {
  for await (const { from, until } of changedRanges(device, since, begin))
    yield* piecesOf(device, from, until);
}

/** One after another however many ask. */
export function taking<Item>(items: AsyncGenerator<Item, unknown>): () => Promise<Item | null> {
  return async () => {
    const { value, done } = await items.next();
    return done === true ? null : value;
  };
}

/** Reads pieces ahead and hands them on in order; the lane holds a piece's data until `take` is done. */
export async function readInOrder(
  device: BlockDevice,
  pieces: AsyncGenerator<Piece, unknown>,
  { io, signal, pace }: ReadOptions,
  take: (piece: Piece, lane: Lane) => Promise<void>,
): Promise<void> {
  const next = taking(pieces);
  const lanes = Array.from({ length: LANES }, () => new Lane(io));
  const queue: { lane: Lane; piece: Piece; read: Promise<void> }[] = [];
  const ahead = async (lane: Lane) => {
    const piece = await next();
    if (piece === null) return;
    if (!piece.zero) await pace?.(piece.length);
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
      await take(piece, lane);
      await ahead(lane);
    }
  } finally {
    await Promise.allSettled(queue.map((entry) => entry.read));
    for (const lane of lanes) lane.release();
  }
}
