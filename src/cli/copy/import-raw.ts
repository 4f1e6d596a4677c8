import { type BlockDevice, BlockFlag, BlockOp } from '../../block/index.js';
import { RawstorError } from '../../common/errors.js';
import { LIMITS } from '../../common/limits.js';
import type { Io, IoFile } from '../../io/index.js';
import { inLanes, type Lane, PIECE_BYTES } from './lane.js';
import { zeroRuns } from './zero-runs.js';

export interface ImportOptions {
  readonly io: Io;
  readonly sizeBytes: number;
  /** A file, whose file system knows the holes; a disk has none to tell. */
  readonly holesKnown: boolean;
  /** The device reads as zeros everywhere: holes need nothing. */
  readonly deviceIsEmpty: boolean;
  readonly signal: AbortSignal;
  /** Bounds how fast is written. */
  readonly pace?: (bytes: number) => Promise<void>;
  onProgress(doneBytes: number): void;
}

interface Piece {
  readonly offset: number;
  readonly length: number;
  readonly hole: boolean;
}

/** Copies a raw image to a device; holes and zeros of the file take no space there. */
export async function importRaw(file: IoFile, device: BlockDevice, options: ImportOptions): Promise<void> {
  const { io, signal, deviceIsEmpty } = options;
  let doneBytes = 0;
  const { sizeBytes } = options;
  const allData = { seekData: (offset: number) => offset, seekHole: () => sizeBytes };
  const pieces = piecesOf(options.holesKnown ? file : allData, sizeBytes);
  const next = () => {
    const { value, done } = pieces.next();
    return done === true ? null : value;
  };
  await inLanes(io, signal, next, async (lane, piece) => {
    if (!piece.hole) {
      await options.pace?.(piece.length);
      await copyPiece(lane, file, device, piece, deviceIsEmpty);
    } else if (!deviceIsEmpty) await zero(lane, device, piece.offset, piece.length);
    doneBytes += piece.length;
    options.onProgress(doneBytes);
  });
}

/** Zeros what a device has beyond an image. `fromBytes` in whole sectors. */
export async function zeroTail(
  io: Io,
  device: BlockDevice,
  fromBytes: number,
  signal: AbortSignal,
): Promise<void> {
  let offset = fromBytes;
  const next = () => {
    if (offset >= device.sizeBytes) return null;
    const piece = { offset, length: Math.min(device.sizeBytes - offset, LIMITS.rangeBytes) };
    offset += piece.length;
    return piece;
  };
  await inLanes(io, signal, next, (lane, piece) => zero(lane, device, piece.offset, piece.length));
}

async function copyPiece(
  lane: Lane,
  file: IoFile,
  device: BlockDevice,
  piece: Piece,
  deviceIsEmpty: boolean,
): Promise<void> {
  const found = await lane.readFile(file, piece.offset, piece.length);
  const length = Math.ceil(found / LIMITS.sectorBytes) * LIMITS.sectorBytes;
  if (length < Math.ceil(piece.length / LIMITS.sectorBytes) * LIMITS.sectorBytes) {
    throw new RawstorError('BAD_DATA', 'the file became shorter while it was read', { where: file.path });
  }
  const bytes = lane.bytes(0, length);
  bytes.fill(0, found);
  for (const run of zeroRuns(bytes)) {
    const { from, to } = run;
    if (!run.zero) await lane.device(device, BlockOp.WRITE, piece.offset + from, to - from, { at: from });
    else if (!deviceIsEmpty) await zero(lane, device, piece.offset + from, to - from);
  }
}

function zero(lane: Lane, device: BlockDevice, offset: number, length: number): Promise<void> {
  const sectors = Math.ceil(length / LIMITS.sectorBytes) * LIMITS.sectorBytes;
  return lane.device(device, BlockOp.WRITE_ZEROES, offset, sectors, { flags: BlockFlag.MAY_UNMAP });
}

/** Holes as the file system knows them, and data in steps of a lane. */
export function* piecesOf(
  file: Pick<IoFile, 'seekData' | 'seekHole'>,
  sizeBytes: number,
): Generator<Piece, undefined> {
  let offset = 0;
  while (offset < sizeBytes) {
    const before = offset;
    const dataAt = Math.min(file.seekData(offset), sizeBytes);
    while (offset < dataAt) {
      const length = Math.min(dataAt - offset, LIMITS.rangeBytes);
      yield { offset, length, hole: true };
      offset += length;
    }
    const holeAt = Math.min(file.seekHole(offset), sizeBytes);
    while (offset < holeAt) {
      const length = Math.min(holeAt - offset, PIECE_BYTES);
      yield { offset, length, hole: false };
      offset += length;
    }
    if (offset > before) continue;
    // Shorter than it was: reading there tells.
    yield { offset, length: Math.min(sizeBytes - offset, PIECE_BYTES), hole: false };
    return;
  }
}
