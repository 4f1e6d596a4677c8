import type { Drain } from './drain.js';
import type { Flusher } from './flusher.js';
import type { SetRecorder } from './set-recorder.js';
import { NotYet } from './version-steps.js';
import type { VolumeState } from './volume-state.js';

/** Regions written since then are worth marking: an OST marks what was written in about this time. */
const RECENT_MS = 2000;

/**
 * One seal of an open volume, while it is written to: new writes take the next tag from the start and wait for
 * nothing; what was tagged before is drained and flushed, then the MDS is told.
 */
export class Sealing {
  readonly state: VolumeState;
  readonly flusher: Flusher;
  readonly writes: Drain;
  private readonly recorder: SetRecorder;

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
    checkReconciled(state);
    const { clock } = state.env;
    let marked = 0;
    if (!state.closing && clock.nowMs() - state.lastWriteAtMs < RECENT_MS) {
      // Most of it, while the guest writes on; then the regions it writes to are made ready for the next tag (I2).
      await wait(this.flusher.flush());
      marked = await wait(this.recorder.markRecent(state.epoch + 1));
    }
    state.tag = Math.max(state.tag, state.epoch + 1);
    await sealBehind(this, marked > 0, wait, () => swap(this.recorder.seal()));
  }
}

/**
 * The second half of every seal, of a new head too: what began before is drained and made durable, then that is recorded.
 * @param marked regions may carry the next tag already
 * @throws NotYet, what `wait` and `record` throw
 */
export async function sealBehind(
  { state, flusher, writes }: { state: VolumeState; flusher: Flusher; writes: Drain },
  marked: boolean,
  wait: <T>(step: Promise<T>) => Promise<T>,
  record: () => Promise<void>,
): Promise<void> {
  const { clock } = state.env;
  state.unsealed.begin(marked, clock.nowMs());
  try {
    await wait(writes.drained());
    await wait(flusher.flush());
    // A write that failed on all may have left replicas different.
    checkReconciled(state);
    await record();
  } catch (error) {
    state.unsealed.failed();
    throw error;
  }
  state.unsealed.sealed();
  state.lastSealAtMs = clock.nowMs();
}

/** @throws NotYet while replicas may differ: no seal says otherwise */
export function checkReconciled({ unreconciled, name }: VolumeState): void {
  if (unreconciled.size > 0) throw new NotYet('regions are still to be reconciled', name);
}
