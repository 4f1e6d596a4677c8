import type { Coding, Compression, ContentHash, Extent } from '../client/index.js';
import type { BucketEncryption } from '../protocol/encryption.js';

/** What S3 keeps in the catalog; docs/s3.md has the layout. Times are wall times in ms. */

export interface CorsRule {
  readonly origins: readonly string[];
  readonly methods: readonly string[];
  readonly headers: readonly string[];
  readonly expose: readonly string[];
  readonly maxAgeSeconds: number | null;
}

export interface BucketRow {
  readonly name: string;
  readonly createdMs: number;
  /** Access key id of who made it. */
  readonly owner: string;
  /** Content lies plain in objects of its own, so that volumes are made of it at once. */
  readonly image: boolean;
  /** New content is compressed where that pays; null or absent: stored as it comes. */
  readonly compression?: Compression | null;
  /** New content is encrypted; null or absent: not. Once it is, it stays: what is there needs the key. */
  readonly encryption?: BucketEncryption | null;
  /** New content is kept at least so long; 0: as long as somebody wants it. */
  readonly retentionDays: number;
  readonly cors: readonly CorsRule[] | null;
  readonly tags: Readonly<Record<string, string>> | null;
  /** It is being removed: nothing is put any more. */
  readonly removing: boolean;
}

export type ChecksumName = 'CRC32' | 'CRC32C' | 'CRC64NVME' | 'SHA1' | 'SHA256';
export interface Checksum {
  readonly name: ChecksumName;
  /** Base64, of a composite one with `-PARTS`. */
  readonly value: string;
  readonly composite: boolean;
}

/** What a PUT says of its content besides it. */
export interface ContentFacts {
  /** Content-Type and the like, as given; lower-case names. */
  readonly headers: Readonly<Record<string, string>>;
  /** x-amz-meta-*, without that. */
  readonly meta: Readonly<Record<string, string>>;
  readonly tags: Readonly<Record<string, string>>;
}

/** Where content is, and how. */
interface Stored {
  readonly extents: readonly Extent[];
  /** Null or absent: it lies there as it came. */
  readonly coding?: Coding | null;
  readonly sizeBytes: number;
  /** Of the content. Null: of a snapshot, which nobody has read. */
  readonly hash?: ContentHash | null;
}

export interface ObjectRow extends ContentFacts, Stored {
  /** Of this content: another one under the same key has another. */
  readonly id: string;
  /** Without quotes. */
  readonly etag: string;
  readonly modifiedMs: number;
  readonly checksum: Checksum | null;
  /** Sizes of the parts as runs `[count, bytes]`; null: not made of parts. */
  readonly parts: readonly (readonly [number, number])[] | null;
  /** Id of the upload that it was completed from: who asks again for that gets the same answer. */
  readonly upload?: string;
  readonly retainUntilMs: number;
}

export interface UploadRow extends ContentFacts {
  readonly id: string;
  readonly initiatedMs: number;
  readonly owner: string;
  readonly checksumName: ChecksumName | null;
  readonly fullChecksum: boolean;
  /** Of the bucket when it was begun, so that all parts are stored alike; absent: as they come. */
  readonly compression?: Compression | null;
  readonly encrypted?: boolean;
}

export interface PartRow extends Stored {
  readonly id: string;
  /** Key of the row of its upload: without that the part is nobody's. */
  readonly upload: string;
  readonly etag: string;
  readonly modifiedMs: number;
  readonly checksum: Checksum | null;
}

export const RIGHTS = ['read', 'write', 'admin'] as const;
/** Each includes the ones before it; `admin` makes and removes buckets and changes their settings. */
export type Right = (typeof RIGHTS)[number];

export interface AccessRow {
  readonly keyId: string;
  readonly secret: string;
  readonly name: string;
  readonly createdMs: number;
  /** By bucket; `*`: all others. */
  readonly rights: Readonly<Record<string, Right>>;
}
