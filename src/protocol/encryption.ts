import { z } from 'zod';

/**
 * How a volume, or a bucket, is encrypted: its data key, wrapped. The data key itself is in no message and on no server. Bytes are base64, as records are
 * told in JSON too.
 */

const base64 = (bytes: number) => z.base64().length(Math.ceil(bytes / 3) * 4);

export const KDF_LIMITS = {
  /** Bounds what opening a volume takes of memory: 128 times this times the block size. */
  cost: 2 ** 18,
  blockSize: 16,
  parallel: 8,
} as const;

/** A key that opens others, not itself kept. */
const wrapping = {
  /** What the key that wraps is made with: of a passphrase (RFC 7914), or of a file that is a key itself (RFC 5869). */
  kdf: z.discriminatedUnion('name', [
    z.object({
      name: z.literal('scrypt'),
      cost: z.number().int().min(2).max(KDF_LIMITS.cost),
      blockSize: z.number().int().min(1).max(KDF_LIMITS.blockSize),
      parallel: z.number().int().min(1).max(KDF_LIMITS.parallel),
    }),
    z.object({ name: z.literal('hkdf-sha256') }),
  ]),
  salt: base64(32),
  /** Of AES-256-GCM. */
  nonce: base64(12),
};

export const encryptionSchema = z.object({
  cipher: z.literal('aes-256-xts'),
  ...wrapping,
  /** The data key of 64 bytes, and the tag of 16. */
  wrapped: base64(80),
});
export type Encryption = z.infer<typeof encryptionSchema>;

export const BUCKET_KEY_BYTES = 32;

/** How what is put into a bucket is encrypted: the bucket's key, wrapped. */
export const bucketEncryptionSchema = z.object({
  cipher: z.literal('aes-256-gcm'),
  ...wrapping,
  /** The bucket's key of 32 bytes, and the tag of 16. */
  wrapped: base64(48),
});
export type BucketEncryption = z.infer<typeof bucketEncryptionSchema>;

/** Of either. */
export type Wrapping = Pick<Encryption, 'kdf' | 'salt' | 'nonce' | 'wrapped'>;
