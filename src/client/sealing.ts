import { RawstorError } from '../common/errors.js';
import type { Drain } from './drain.js';
import type { Flusher } from './flusher.js';
import type { SetRecorder } from './set-recorder.js';
import type { VolumeState } from './volume-state.js';

/** Regions written since then are worth marking: an OST marks what was written in about this time. */
const RECENT_MS = 2000;

/**
 * One seal of an open volume, while it is written to: new writes take the next tag from the start and wait for
 * nothing; what was tagged before is drained and flushed, then the MDS is told.
 */
export class Sealing {
  private readonly state: VolumeState;
  private readonly recorder: SetRecorder;
  private readonly flusher: Flusher;
  private readonly writes: Drain;

  constructor(state: VolumeState, recorder: SetRecorder, flusher: Flusher, writes: Drain) {
    this.state = state;
    this.recorder = recorder;
    this.flusher = flusher;
    this.writes = writes;
  }

  /**
   * `wait` passes the outcome of a step on, or gives up when something is more urgent; `swap` waits for the MDS.
   * @throws RawstorError BUSY, FENCED, what `wait` throws
   */
  async run(
    wait: <T>(step: Promise<T>) => Promise<T>,
    swap: (answer: Promise<void>) => Promise<void>,
  ): Promise<void> {
    const { state } = this;
    this.checkReconciled();
    const { clock } = state.env;
    let marked = 0;
    if (!state.closing && clock.nowMs() - state.lastWriteAtMs < RECENT_MS) {
      // Most of it, while the guest writes on; then the regions it writes to are made ready for the next tag (I2).
      await wait(this.flusher.flush());
      marked = await wait(this.recorder.markRecent(state.epoch + 1));
    }
    state.tag = Math.max(state.tag, state.epoch + 1);
    state.unsealed.begin(marked > 0, clock.nowMs());
    try {
      await wait(this.writes.drained());
      await wait(this.flusher.flush());
      // A write that failed on all may have left replicas different.
      this.checkReconciled();
      await swap(this.recorder.seal());
    } catch (error) {
      state.unsealed.failed();
      throw error;
    }
    state.unsealed.sealed();
    state.lastSealAtMs = clock.nowMs();
  }

  private checkReconciled(): void {
    if (this.state.unreconciled.size > 0)
      throw new RawstorError('BUSY', 'regions are still to be reconciled');
  }
}
