import { randomBytes } from 'node:crypto';
import { RawstorError } from '../../common/errors.js';
import {
  BUCKET_KEY_BYTES,
  type BucketEncryption,
  bucketEncryptionSchema,
} from '../../protocol/encryption.js';
import type { KeyRing } from './ring.js';
import { type Secret, unwrapFor, type WrapUse, wrapFor } from './wrap.js';

const BUCKET: WrapUse = { purpose: Buffer.from('rawstor bucket key, aes-256-gcm'), noun: 'bucket' };
/** Keys of buckets that are kept open. */
const OPEN = 256;

/** A key of its own for a bucket, wrapped. */
export async function newBucketEncryption(secret: Secret): Promise<BucketEncryption> {
  const key = randomBytes(BUCKET_KEY_BYTES);
  try {
    return await wrapBucketKey(key, secret);
  } finally {
    key.fill(0);
  }
}

export async function wrapBucketKey(key: Uint8Array, secret: Secret): Promise<BucketEncryption> {
  return { cipher: 'aes-256-gcm', ...(await wrapFor(BUCKET, key, secret)) };
}

/** Keys of buckets as they are needed: each is opened once, and again when it was wrapped anew. */
export class BucketKeys {
  private readonly ring: KeyRing;
  private readonly open = new Map<string, { readonly wrapped: string; readonly key: Promise<Buffer> }>();

  constructor(ring: KeyRing) {
    this.ring = ring;
  }

  /** @throws RawstorError DENIED, BAD_DATA, of the file */
  async keyOf(bucket: string, encryption: BucketEncryption): Promise<Buffer> {
    const known = this.open.get(bucket);
    if (known?.wrapped === encryption.wrapped) return known.key;
    if (this.open.size >= OPEN) this.open.clear();
    const key = this.unwrapped(bucket, encryption);
    const opened = { wrapped: encryption.wrapped, key };
    this.open.set(bucket, opened);
    key.catch(() => {
      if (this.open.get(bucket) === opened) this.open.delete(bucket);
    });
    return key;
  }

  private async unwrapped(bucket: string, encryption: BucketEncryption): Promise<Buffer> {
    // What it names is believed within limits: scrypt takes memory by it.
    const checked = bucketEncryptionSchema.safeParse(encryption);
    if (!checked.success)
      throw new RawstorError('BAD_DATA', 'what is kept of the key of the bucket is no such thing', {
        where: bucket,
      });
    const secret = await this.ring.secretOf(bucket, 'bucket');
    return unwrapFor(BUCKET, checked.data, secret, bucket).finally(() => secret.bytes.fill(0));
  }
}
