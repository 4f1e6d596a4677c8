/** A server under measurement, ours or a peer's, with one export. */
export interface Subject {
  readonly name: string;
  /** NBD URI of the export; `vhost:PATH` for a vhost-user-blk socket, `file:PATH` for a file. */
  readonly uri: string;
  /** Its processes; their children are counted along. */
  readonly pids: readonly number[];
  /** What a reader of its figures should know. */
  readonly remark?: string;
  /** Fills the export, where that takes more than writing every block once. */
  readonly prepare?: () => Promise<void>;
  /** Brings it into the state that is to be measured, before each run. */
  readonly beforeRun?: () => Promise<void>;
  /** Told after each run what was there to be seen of that state; it is noted with the sample. */
  readonly afterRun?: () => Promise<void>;
  /**
   * Pieces in which it is filled; 4 KiB where a page cache is built that way, which later writes of 4 KiB are
   * cheaper in than in one of large folios. Others have no page cache, or would take hours.
   */
  readonly fillBlockBytes?: number;
  stop(): Promise<void>;
}

export interface SubjectOptions {
  /** A folder of its own, empty, on the disk to measure. */
  dir: string;
  sizeBytes: number;
  /** CPU the server is pinned to; without it the scheduler chooses. */
  cpu?: number;
}

/** @throws RawstorError UNAVAILABLE when it cannot be run here, which is told and no failure */
export type StartSubject = (options: SubjectOptions) => Promise<Subject>;

/** One kind of load. */
export interface Case {
  readonly name: string;
  readonly op: 'read' | 'write' | 'writeflush' | 'mix';
  readonly pattern: 'random' | 'sequential';
  readonly blockBytes: number;
  readonly depth: number;
  readonly connections: number;
  /** Of `mix`. */
  readonly readPercent?: number;
  /** A flush behind so many requests. */
  readonly flushEvery?: number;
  /** With NBD's structured replies. */
  readonly structured?: boolean;
}

/** What one run of a case against one subject gave. */
export interface Sample {
  operationsPerSecond: number;
  bytesPerSecond: number;
  /** CPU time of all processes of the server. */
  serverCpuUsPerOperation: number;
  /** Share of one CPU that the load itself used; near 1 the load is the limit and not the server. */
  loadCpuShare: number;
  p50Us: number;
  p95Us: number;
  p99Us: number;
  p999Us: number;
  maxUs: number;
}
