import { z } from 'zod';
import { RawstorError } from '../../../common/errors.js';
import { LIMITS } from '../../../common/limits.js';
import { decodeBody, encodeBody } from '../../../protocol/control.js';
import { crc32c } from '../../../protocol/crc32c.js';

/**
 * Journals and checkpoints of the catalog are frames, each from a sector on, zeros up to the next (docs/s3.md):
 *
 *   0  u32 LE magic "RSJ1"        8  u32 LE CRC-32C of the body
 *   4  u32 LE length of the body  12 body, msgpack
 */
const MAGIC = Buffer.from('RSJ1').readUInt32LE(0);
const HEADER_BYTES = 12;
const { sectorBytes: SECTOR } = LIMITS;
/** Of one body: as many records as fit this, or one. */
export const FRAME_BODY_BYTES = 512 * 1024;
/** A record is what one message holds, and little more. */
const BODY_MAX_BYTES = 4 * 1024 * 1024;

const revision = z.number().int().nonnegative().max(Number.MAX_SAFE_INTEGER);
const bytes = z.custom<Uint8Array>((value) => value instanceof Uint8Array);

/** One transaction of the catalog; rows of references and of journals are not in it. */
const recordSchema = z.object({
  revision,
  puts: z.array(z.tuple([z.string(), bytes])),
  deletes: z.array(z.string()),
});
export type JournalRecord = z.infer<typeof recordSchema>;

const rowSchema = z.tuple([z.string(), revision, bytes]);
/** Key, revision, value. */
export type CheckpointRow = z.infer<typeof rowSchema>;

const frameSchema = z.union([
  /** Of a journal. */
  z.object({ records: z.array(recordSchema) }),
  /** The first of a checkpoint: all transactions below `from` are in it. */
  z.object({ from: revision }),
  z.object({ rows: z.array(rowSchema) }),
  /** The last of a checkpoint: without it, it is none. */
  z.object({ end: z.object({ rows: z.number().int().nonnegative() }) }),
]);
export type Frame = z.infer<typeof frameSchema>;

/** @throws RawstorError LIMIT */
export function encodeFrame(frame: Frame): Buffer {
  const body = encodeBody(frame);
  if (body.length > BODY_MAX_BYTES) {
    throw new RawstorError('LIMIT', `a record of ${body.length} bytes does not fit a journal`);
  }
  const whole = Buffer.alloc(Math.ceil((HEADER_BYTES + body.length) / SECTOR) * SECTOR);
  whole.writeUInt32LE(MAGIC, 0);
  whole.writeUInt32LE(body.length, 4);
  whole.writeUInt32LE(crc32c(body, 0, body.length), 8);
  body.copy(whole, HEADER_BYTES);
  return whole;
}

/**
 * Takes a stream of bytes apart. It ends at the first sector that begins no whole frame: what was being written when its
 * writer died was answered to nobody.
 */
export class FrameReader {
  ended = false;
  private rest: Buffer = Buffer.alloc(0);

  push(more: Buffer): Frame[] {
    const found: Frame[] = [];
    if (this.ended) return found;
    this.rest = this.rest.length === 0 ? more : Buffer.concat([this.rest, more]);
    while (this.rest.length >= HEADER_BYTES) {
      const bodyBytes = this.rest.readUInt32LE(4);
      if (this.rest.readUInt32LE(0) !== MAGIC || bodyBytes > BODY_MAX_BYTES) return this.stop(found);
      const wholeBytes = Math.ceil((HEADER_BYTES + bodyBytes) / SECTOR) * SECTOR;
      if (this.rest.length < wholeBytes) break;
      const body = this.rest.subarray(HEADER_BYTES, HEADER_BYTES + bodyBytes);
      const frame = crc32c(body, 0, body.length) === this.rest.readUInt32LE(8) ? parsed(body) : null;
      if (frame === null) return this.stop(found);
      found.push(frame);
      this.rest = this.rest.subarray(wholeBytes);
    }
    return found;
  }

  private stop(found: Frame[]): Frame[] {
    this.ended = true;
    this.rest = Buffer.alloc(0);
    return found;
  }
}

function parsed(body: Buffer): Frame | null {
  try {
    return frameSchema.parse(decodeBody(body));
  } catch {
    return null;
  }
}
