import type { FileFacts } from '../protocol/records.js';

/** How a volume is opened. */
export interface OpenVolumeOptions {
  readonly mode: 'write' | 'read';
  /** Takes the lease from a live holder, which is fenced from then on. */
  readonly force?: boolean;
  /** Who holds the lease: the same holder takes it back at once after a crash. */
  readonly holder?: string;
  /** Only to repair: whoever else opens gets the lease at once. Implies `ifUnwritten`. */
  readonly yields?: boolean;
  /** Asks whoever holds it to give way. BUSY all the same, until that one's front-end has stopped. */
  readonly handOver?: boolean;
  /** BUSY also where its holder was not heard of for a while, but has not closed it. */
  readonly ifClosed?: boolean;
  /**
   * Not from a guest that lives: where one was not heard of for a while and has not closed it, OSTs are asked for some seconds whether
   * they have its connections.
   */
  readonly ifUnwritten?: boolean;
  /** A session of which this was found out already. */
  readonly unseenSession?: number;
  /** Only if that is still its latest session: CONFLICT where somebody, this holder too, has opened it since. */
  readonly after?: number;
  /** Told as soon as the MDS has given it a session, whatever comes of the open then. */
  readonly onSession?: (sessionEpoch: number) => void;
  /** To write an immutable object before it is sealed; without it only a repair opens one. */
  readonly immutable?: boolean;
  /** Goes on without replicas that may hold newer data: the loss is recorded. */
  readonly acceptLoss?: boolean;
  /** What it is as a file at any moment, for snapshots of it. All that was answered before belongs to it. */
  readonly fileNow?: () => FileFacts | null;
  /** How long to wait for replicas that may not be given up. */
  readonly timeoutMs?: number;
}
