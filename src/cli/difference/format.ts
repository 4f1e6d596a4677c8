import { z } from 'zod';
import { LIMITS } from '../../common/limits.js';
import { idSchema, nameSchema, snapshotNameSchema } from '../../protocol/index.js';

/**
 * The bytes of a difference stream, docs/formats-difference.md: what it takes to make a copy of snapshot A of a volume one of snapshot B.
 * Little endian.
 *
 *     stream = magic:12 version:u32 record*          HEAD first, END last, DATA and ZERO between, by offset
 *     record = type:u32 payloadBytes:u32 offset:u64 length:u64 payloadCrc32c:u32 headerCrc32c:u32 payload
 */

export const MAGIC = Buffer.from('RAWSTOR-DIFF', 'latin1');
export const FORMAT_VERSION = 1;
export const PREAMBLE_BYTES = 16;
export const RECORD_HEADER_BYTES = 32;
/** Of the header, what its checksum covers. */
export const SUMMED_BYTES = 28;
export const SHA256_BYTES = 32;

/** Types are four letters, for who looks at the bytes. */
export const DifferenceRecord = {
  HEAD: Buffer.from('HEAD', 'latin1').readUInt32LE(0),
  DATA: Buffer.from('DATA', 'latin1').readUInt32LE(0),
  ZERO: Buffer.from('ZERO', 'latin1').readUInt32LE(0),
  END: Buffer.from('END ', 'latin1').readUInt32LE(0),
} as const;

export const DIFFERENCE_LIMITS = {
  headBytes: 16 * 1024,
  /** Payload of one DATA record. */
  dataBytes: LIMITS.framePayloadBytes,
} as const;

const snapshotIdentity = z.object({
  /** Of the volume that it was taken of first, and its version there: the same for every copy of it. */
  objectId: idSchema,
  version: z.number().int().min(1),
  name: snapshotNameSchema,
  sizeBytes: z.number().int().nonnegative().max(LIMITS.volumeSizeBytes),
  createdWallMs: z.number(),
});
export type SnapshotIdentity = z.infer<typeof snapshotIdentity>;

/** The HEAD record's payload, as JSON. */
export const differenceHeadSchema = z.object({
  /** Where the stream was made: for people. */
  volume: nameSchema,
  volumeId: idSchema,
  from: snapshotIdentity,
  to: snapshotIdentity,
  createdWallMs: z.number(),
});
export type DifferenceHead = z.infer<typeof differenceHeadSchema>;

export function sameSnapshot(
  a: Pick<SnapshotIdentity, 'objectId' | 'version'>,
  b: Pick<SnapshotIdentity, 'objectId' | 'version'>,
): boolean {
  return a.objectId === b.objectId && a.version === b.version;
}
