import type { BlockRequest } from '../../block/device.js';
import type { RawstorError } from '../../common/errors.js';
import type { BatchTask, Io } from '../../io/types.js';

/** Answers at the end of the turn: never from within the submit that they are of. */
export class LateAnswers implements BatchTask {
  private readonly io: Io;
  private readonly answers: { block: BlockRequest; error: RawstorError | null }[] = [];

  constructor(io: Io) {
    this.io = io;
  }

  finish(block: BlockRequest, error: RawstorError | null): void {
    this.answers.push({ block, error });
    this.io.schedule(this);
  }

  runBatch(): void {
    for (const { block, error } of this.answers.splice(0)) block.owner.blockDone(block, error);
  }
}
