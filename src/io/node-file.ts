import * as fs from 'node:fs';
import { assert } from '../common/assert.js';
import { EINTR, EIO, errnoOf } from './errno.js';
import { FileBase } from './file-base.js';
import { FALLOC_KEEP_SIZE, FALLOC_PUNCH_HOLE, IOVECS_MAX, SYNC_RANGE_WRITE } from './ring-abi.js';
import type { BatchTask, FileOp } from './types.js';
import type { WriteBatch } from './write-batch.js';

const SECTOR_BYTES = 512;

const Kind = { READ: 0, WRITE: 1, SYNC: 2 } as const;
type Kind = (typeof Kind)[keyof typeof Kind];

/** What a file needs of the Io it belongs to. */
export interface FileHost {
  readonly writes: WriteBatch;
  /** Operations at Node's thread pool. */
  jobs: number;
  arrange(): void;
  schedule(task: BatchTask): void;
}

/** One operation at Node's thread pool, reused. */
class Job {
  op: FileOp | null = null;
  kind: Kind = Kind.READ;
  done = 0;
  private readonly file: NodeFile;

  constructor(file: NodeFile) {
    this.file = file;
  }

  readonly callback = (error: NodeJS.ErrnoException | null, count?: number): void => {
    this.file.jobDone(this, error === null ? (count ?? 0) : errnoOf(error));
  };
}

/** A file on Node's fs; buffered writes in one native call a turn, as with the ring. */
export class NodeFile extends FileBase implements BatchTask {
  private readonly host: FileHost;
  private readonly direct: boolean;
  private readonly idle: Job[] = [];
  private readonly finished: { op: FileOp; result: number }[] = [];

  constructor(host: FileHost, fd: number, path: string, direct: boolean, onClosed: (file: FileBase) => void) {
    super(fd, path, onClosed);
    this.host = host;
    this.direct = direct;
  }

  read(op: FileOp): void {
    if (op.slices.lengthBytes === 0) this.finishLater(op, 0);
    else this.start(Kind.READ, op);
  }

  write(op: FileOp): void {
    if (op.slices.lengthBytes === 0) {
      this.finishLater(op, 0);
    } else if (this.direct) {
      this.start(Kind.WRITE, op);
    } else {
      this.host.writes.add(this.fd, op);
      this.host.arrange();
    }
  }

  sync(op: FileOp): void {
    this.start(Kind.SYNC, op);
  }

  punch(op: FileOp): void {
    const mode = FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE;
    const result =
      op.lengthBytes > 0 ? this.native.fallocate(this.fd, mode, op.fileOffset, op.lengthBytes) : 0;
    this.finishLater(op, result);
  }

  writeback(op: FileOp): void {
    this.finishLater(op, this.native.syncFileRange(this.fd, op.fileOffset, op.lengthBytes, SYNC_RANGE_WRITE));
  }

  /** Tells the owners of what was done at once. */
  runBatch(): void {
    while (this.finished.length > 0) {
      const { op, result } = this.finished.shift()!;
      op.owner.fileDone(op, result);
    }
  }

  jobDone(job: Job, result: number): void {
    const { kind } = job;
    const op = job.op!;
    const total = kind === Kind.SYNC ? 0 : op.slices.lengthBytes;
    job.done += Math.max(result, 0);
    const oddEnd = this.direct && kind === Kind.READ && result % SECTOR_BYTES !== 0;
    if (result === -EINTR || (result > 0 && job.done < total && !oddEnd)) {
      this.submit(job);
      return;
    }
    job.op = null;
    this.idle.push(job);
    this.host.jobs--;
    const failed = result < 0 ? result : kind === Kind.WRITE && job.done < total ? -EIO : 0;
    op.owner.fileDone(op, failed < 0 ? failed : job.done);
  }

  private start(kind: Kind, op: FileOp): void {
    const job = this.idle.pop() ?? new Job(this);
    job.op = op;
    job.kind = kind;
    job.done = 0;
    this.host.jobs++;
    this.submit(job);
  }

  private submit(job: Job): void {
    const op = job.op!;
    const { slices } = op;
    if (job.kind === Kind.SYNC) {
      fs.fdatasync(this.fd, job.callback);
      return;
    }
    const position = op.fileOffset + job.done;
    if (slices.count === 1) {
      const { bytes } = slices.memory[0]!;
      const offset = slices.offset[0]! + job.done;
      const length = slices.length[0]! - job.done;
      if (job.kind === Kind.READ) fs.read(this.fd, bytes, offset, length, position, job.callback);
      else fs.write(this.fd, bytes, offset, length, position, job.callback);
      return;
    }
    const views = piecesFrom(op, job.done);
    if (job.kind === Kind.READ) fs.readv(this.fd, views, position, job.callback);
    else fs.writev(this.fd, views, position, job.callback);
  }

  private finishLater(op: FileOp, result: number): void {
    this.finished.push({ op, result });
    this.host.schedule(this);
  }
}

function piecesFrom(op: FileOp, done: number): Buffer[] {
  const { slices } = op;
  const views: Buffer[] = [];
  let skip = done;
  for (let i = 0; i < slices.count && views.length < IOVECS_MAX; i++) {
    const length = slices.length[i]!;
    if (skip >= length) {
      skip -= length;
      continue;
    }
    const at = slices.offset[i]!;
    views.push(slices.memory[i]!.bytes.subarray(at + skip, at + length));
    skip = 0;
  }
  assert(views.length > 0, 'file operation without bytes');
  return views;
}
