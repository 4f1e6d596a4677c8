import type { BatchTask, Io } from '../io/types.js';
import type { ChunkOp } from '../protocol/index.js';
import type { Operation } from './operation.js';

/** Answers known while an operation is being submitted, given at the end of the turn: never from within. */
export class DeferredAnswers implements BatchTask {
  private readonly io: Pick<Io, 'schedule'>;
  private deferred: { operation: Operation; status: number }[] = [];
  private refused: { op: ChunkOp; status: number }[] = [];

  constructor(io: Pick<Io, 'schedule'>) {
    this.io = io;
  }

  finish(operation: Operation, status: number): void {
    this.deferred.push({ operation, status });
    this.io.schedule(this);
  }

  /** Of an operation that did not begin. */
  refuse(op: ChunkOp, status: number): void {
    this.refused.push({ op, status });
    this.io.schedule(this);
  }

  runBatch(): void {
    const { deferred, refused } = this;
    this.deferred = [];
    this.refused = [];
    for (const { operation, status } of deferred) operation.finish(status);
    for (const { op, status } of refused) {
      op.status = status;
      op.owner.chunkDone(op);
    }
  }
}
