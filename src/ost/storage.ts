import type { IoFile } from '../io/types.js';
import type { Place } from './place.js';

export interface ChunkName {
  chunk: number;
  version: number;
}

export interface SpaceFigures {
  capacityBytes: number;
  /** What ordinary programs may still allocate. */
  freeBytes: number;
}

/** What an object occupies: all of it, and by version. */
export interface StorageUsage {
  allocatedBytes: number;
  chunks: number;
  versions: { version: number; allocatedBytes: number; chunks: number }[];
}

/** The chunk files of an OST. The real ones live in a directory; the simulation brings its own. */
export interface ChunkStorage {
  /** For messages. */
  readonly where: string;
  /** Called while a file cannot be opened because too many are open. */
  onShort?: () => void;
  /** Answers null when the file does not exist and is not to be created. A new directory entry is not durable yet. */
  open(objectId: string, name: ChunkName, create: boolean): Promise<IoFile | null>;
  /**
   * Opens a file to read what the disk has, past the page cache; null when there is none, or where that cannot be
   * done. Left out where there is no such way.
   */
  openDirect?(objectId: string, name: ChunkName): Promise<IoFile | null>;
  /**
   * Makes the directory entries of an object's chunk files durable. @throws RawstorError BUSY when nothing was tried; any other:
   * they may be lost
   */
  syncDirectory(objectId: string): Promise<void>;
  /** Removes one file; one that is not there is already removed. Durable with the next `syncDirectory`. */
  removeChunk(objectId: string, name: ChunkName): Promise<void>;
  /** Gives a file the name of another version, in whose place it comes. Durable with the next `syncDirectory`. */
  renameChunk(objectId: string, from: ChunkName, to: ChunkName): Promise<void>;
  list(objectId: string): Promise<ChunkName[]>;
  /** Every object that has a directory here. */
  objects(): Promise<string[]>;
  usage(objectId: string): Promise<StorageUsage>;
  /** Removes all files of an object, durably. Unknown objects are already removed. `next` is called before each file, and ends it by throwing. */
  remove(objectId: string, next?: () => void): Promise<void>;
  /** Forgets cached pages that are not dirty, after a sync failed: what is read next is what the disk has. */
  dropCache(objectId: string, name: ChunkName): Promise<void>;
  /** Forgets the cached pages of every chunk file. */
  dropCaches(): Promise<void>;
  /** Makes all that is cached durable. @throws RawstorError when something was lost */
  syncAll(): Promise<void>;
  /**
   * Notes, before it returns, that unflushed writes are lost, so that the next process knows even if this one
   * is killed now. Need not survive the kernel, nor the mount: their ids tell of that.
   */
  noteLoss(): void;
  lossNoted(): boolean;
  forgetLoss(): Promise<void>;
  space(): SpaceFigures;
  place(): Place;
}
