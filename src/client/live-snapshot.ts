import { asRawstorError, RawstorError } from '../common/errors.js';
import type { FileFacts } from '../protocol/records.js';
import { pendingOf, type VersionChange } from '../protocol/version-messages.js';
import type { Flusher } from './flusher.js';
import type { RequestQueue } from './request-queue.js';
import { sealBehind } from './sealing.js';
import type { SetRecorder } from './set-recorder.js';
import { type ChangeSteps, NotYet } from './version-steps.js';
import type { VolumeState } from './volume-state.js';

export type SnapshotChange = Extract<VersionChange, { kind: 'snapshot' }>;

/**
 * A snapshot that no write waits for (docs/snapshots.md, Cut). The new head is recorded and stored everywhere ahead of
 * the cut, while writes go on to the old one. The cut is the moment from which a write that begins goes to the new head: an act
 * of this one writer, exact without any agreement. What began before is drained and made durable, and only when the MDS has
 * that on record is there a snapshot; whatever ends the session before leaves a version without a name, which is merged away.
 */
export class LiveSnapshot {
  private readonly state: VolumeState;
  private readonly recorder: SetRecorder;
  private readonly flusher: Flusher;
  private readonly requests: RequestQueue;
  /** What the version that is pending is for: the same wish may have to be taken up again. */
  private wish: SnapshotChange | null = null;
  /** What the volume was as a file at the cut: all of it that was answered by then. */
  private fileAtCut: FileFacts | null = null;

  constructor(state: VolumeState, recorder: SetRecorder, flusher: Flusher, requests: RequestQueue) {
    this.state = state;
    this.recorder = recorder;
    this.flusher = flusher;
    this.requests = requests;
  }

  /**
   * Most is durable already, `marked` regions are ready for the next tag.
   * @throws RawstorError BUSY, FENCED, what the MDS refuses it with, what `steps.wait` throws
   */
  async take(
    wish: SnapshotChange,
    askedId: string | null,
    marked: number,
    steps: ChangeSteps,
  ): Promise<void> {
    const { state } = this;
    if (this.pending !== null && this.wish !== wish) await this.abandon(steps);
    if (this.pending === null) await this.recordAhead(wish, steps);
    await this.store(steps);
    // The new head has nothing of what the guest writes to yet.
    const ahead = await steps.wait(this.recorder.markRecent(state.epoch + 1));
    this.cut();
    const parts = { state, flusher: this.flusher, writes: this.requests.writes };
    const record = () => this.recordFrozen('sealed', askedId, steps);
    try {
      await sealBehind(parts, marked + ahead > 0, (step) => steps.wait(step), record);
    } catch (error) {
      // Nobody waits for it any more.
      if (asRawstorError(error).code === 'NOT_FOUND') await this.abandon(steps);
      throw error;
    }
    await steps.storeAhead();
  }

  /** Makes what an earlier wish has left pending a version without a name. */
  async abandon(steps: ChangeSteps): Promise<void> {
    if (this.pending === null) return;
    await this.store(steps);
    this.cut();
    await steps.wait(this.requests.writes.drained());
    await this.recordFrozen('abandoned', null, steps);
    await steps.storeAhead();
  }

  private get pending(): number | null {
    return pendingOf(this.state.object)?.version ?? null;
  }

  private async recordAhead(wish: SnapshotChange, steps: ChangeSteps): Promise<void> {
    const { state } = this;
    // What is copied from the parent into the head would hide what is still written below it.
    if (state.flattening) throw new RawstorError('BUSY', 'it is being flattened', { where: state.name });
    this.wish = wish;
    state.uncut = state.object.headVersion;
    try {
      await steps.swap(this.recorder.changeVersions({ ...wish, ahead: true }, null));
    } catch (error) {
      state.uncut = null;
      throw error;
    }
  }

  /** Nothing may be written to a head that some replica does not know. */
  private async store(steps: ChangeSteps): Promise<void> {
    const { state } = this;
    if (state.recordToStore) await steps.storeAhead();
    if (state.recordToStore) throw new NotYet('a replica is away', state.name);
  }

  private cut(): void {
    const { state } = this;
    state.tag = Math.max(state.tag, state.epoch + 1);
    // A wish that is taken up again was cut before.
    if (state.uncut !== null) this.fileAtCut = state.fileNow?.() ?? null;
    state.uncut = null;
  }

  private recordFrozen(
    kind: 'sealed' | 'abandoned',
    askedId: string | null,
    steps: ChangeSteps,
  ): Promise<void> {
    const version = this.pending;
    if (version === null)
      throw new RawstorError('NOT_FOUND', 'no version is being frozen', { where: this.state.name });
    const file = kind === 'sealed' ? this.fileAtCut : null;
    const change = file === null ? { kind, version } : { kind, version, file };
    return steps.swap(this.recorder.changeVersions(change, askedId));
  }
}
