/** A server under measurement, ours or a peer's, with one export. */
export interface Subject {
  readonly name: string;
  /** NBD URI of the export. */
  readonly uri: string;
  /** Its processes; their children are counted along. */
  readonly pids: readonly number[];
  stop(): Promise<void>;
}

export interface SubjectOptions {
  /** A folder of its own, empty, on the disk to measure. */
  dir: string;
  sizeBytes: number;
  /** CPU the server is pinned to; without it the scheduler chooses. */
  cpu?: number;
}

export type StartSubject = (options: SubjectOptions) => Promise<Subject>;

/** One kind of load. */
export interface Case {
  readonly name: string;
  readonly op: 'read' | 'write' | 'writeflush';
  readonly pattern: 'random' | 'sequential';
  readonly blockBytes: number;
  readonly depth: number;
  readonly connections: number;
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
  p99Us: number;
  p999Us: number;
  maxUs: number;
}
