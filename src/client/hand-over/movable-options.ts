import type { XtsCipher } from '../../block/index.js';
import type { RawstorError } from '../../common/errors.js';
import type { Logger } from '../../common/log.js';
import type { Io } from '../../io/types.js';
import type { OpenVolumeOptions } from '../open-options.js';
import type { Volume } from '../volume.js';
import type { StandbyEnvironment } from './standby-reader.js';

export interface MovableOptions {
  /** Who holds the lease: another one than the process that it moves from or to. */
  readonly holder: string;
  /** Where another has the volume: stands by, instead of BUSY. */
  readonly standby: boolean;
  /**
   * The facade says by `rest` when its front-end has stopped, and what comes is of a running guest (vhost-user). Without, a
   * front-end is taken for stopped when its last change was flushed and nothing was in flight for 50 ms (NBD), and reads
   * ask for nothing, since they may be those of a guest that waits to be moved here.
   */
  readonly tellsStops: boolean;
  /** Opens it only if this is still the latest session: that of the process whose place this one takes. */
  readonly after?: number;
}

export interface MovableEnvironment extends StandbyEnvironment {
  readonly io: Io;
  readonly log: Logger;
  /** Of an encrypted volume. */
  readonly cipher: XtsCipher | null;
  openVolume(ref: string, options: OpenVolumeOptions): Promise<Volume>;
}

export type State =
  | { readonly kind: 'holds'; readonly volume: Volume }
  /** On the way to or from that; requests wait. */
  | { readonly kind: 'moves'; readonly takes: boolean; readonly done: Promise<void> }
  | { readonly kind: 'stands-by' }
  /** Of the front-end that is there: its guest has gone on elsewhere. */
  | { readonly kind: 'refuses'; readonly error: RawstorError }
  | { readonly kind: 'over'; readonly error: RawstorError };
