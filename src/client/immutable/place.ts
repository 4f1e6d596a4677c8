import type { ContentHash } from './content-hash.js';
import type { Extent } from './extent.js';
import type { Coding } from './frames/coding.js';
import type { WrittenObject } from './written-object.js';

/** Where a content goes: a range of an object that is its own. */
export interface Place {
  readonly object: WrittenObject;
  readonly offset: number;
  /** Nothing else goes to the object: it is sealed at the content's end. */
  readonly alone: boolean;
  /** It was less than was asked for. */
  trim?(usedBytes: number): void;
  /** Nothing was ever told of what was written there: it may be written anew. Else `release`. */
  free?(): void;
  /** The content is on record, or nobody wants it. */
  release(): void | Promise<void>;
}

/** Takes one content as a stream. */
export interface ContentSink {
  /** Null before it is known. */
  readonly place: Place | null;
  /** The bytes are the writer's from then on. @throws RawstorError of the device */
  write(bytes: Buffer): Promise<void>;
  /** Durable on all replicas in sync when it answers. @throws RawstorError of the device */
  finish(): Promise<Extent[]>;
  /** Of all that was written; once. */
  hash(): ContentHash;
  /** After `finish`; null: it is stored as it came. */
  coding(): Coding | null;
  /** Nobody wants it: waits for what is under way. */
  abort(): Promise<void>;
  /** It is on record. */
  release(): Promise<void>;
}
