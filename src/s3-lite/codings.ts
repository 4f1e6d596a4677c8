import type { BucketKeys, WriteCoding } from '../client/index.js';
import { RawstorError } from '../common/errors.js';
import type { BucketRow, ObjectRow, UploadRow } from './rows.js';

/** How contents of buckets are stored, and the keys that it takes. */
export class Codings {
  private readonly keys: BucketKeys;

  constructor(keys: BucketKeys) {
    this.keys = keys;
  }

  /** Of what is put into a bucket now; null: as it comes. @throws RawstorError DENIED without its key */
  async ofBucket(bucket: BucketRow): Promise<WriteCoding | null> {
    return this.coding(bucket, bucket.compression ?? null, bucket.encryption != null);
  }

  /** Of the parts of an upload. @throws RawstorError DENIED without its key */
  async ofUpload(bucket: BucketRow, { compression, encrypted }: UploadRow): Promise<WriteCoding | null> {
    return this.coding(bucket, compression ?? null, encrypted === true);
  }

  /** What reads a content; null where it takes none. @throws RawstorError DENIED without it */
  async keyOf(bucket: BucketRow, { coding }: Pick<ObjectRow, 'coding'>): Promise<Buffer | null> {
    return coding?.salts == null ? null : this.key(bucket);
  }

  private async coding(bucket: BucketRow, compression: WriteCoding['compression'], encrypted: boolean) {
    if (compression === null && !encrypted) return null;
    return { compression, key: encrypted ? await this.key(bucket) : null };
  }

  private async key({ name, encryption }: BucketRow): Promise<Buffer> {
    if (encryption != null) return this.keys.keyOf(name, encryption);
    throw new RawstorError('BAD_DATA', 'the content is encrypted, but its bucket has no key', {
      where: name,
    });
  }
}
