import type { BlockDevice } from '../block/index.js';
import type { Volume } from '../client/index.js';
import type { Clock } from '../common/clock.js';
import type { Logger } from '../common/log.js';
import type { BufferPool } from '../io/pool.js';
import type { FileFacts, ObjectInfo } from '../protocol/index.js';

/** What a file is read by where it is not written here. */
export interface ReadDevice extends BlockDevice {
  /** The volume, as far as it is known. */
  readonly object?: ObjectInfo;
  /** Of a volume that others write: asks for `object`. @throws RawstorError */
  refresh?(): Promise<void>;
}

/** A volume that is open for writing. */
export type FileVolume = BlockDevice & Pick<Volume, 'object' | 'change' | 'flush'>;

export interface OpenFileParts {
  readonly pool: BufferPool;
  readonly clock: Clock;
  readonly log: Logger;
  /** `fileNow`: what it is as a file, all that was answered by then. */
  openWrite(fileNow: () => FileFacts): Promise<FileVolume>;
  /** The kernel has made it so long, or longer, by a write; null: it may not have heard what became of one. */
  wrote(endBytes: number | null): void;
  /** `onEnded`: it can serve no more. */
  openRead(onEnded: () => void): Promise<ReadDevice>;
}
