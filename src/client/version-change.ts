import { BlockOp } from '../block/device.js';
import { hasTail, makesHead, type VersionChange } from '../protocol/version-messages.js';
import type { Flusher } from './flusher.js';
import { LiveSnapshot, type SnapshotChange } from './live-snapshot.js';
import type { LockHolder } from './range-locks.js';
import { listRegions } from './recovery/copy.js';
import { RegionSet } from './region-set.js';
import type { RequestQueue } from './request-queue.js';
import { checkReconciled, sealBehind } from './sealing.js';
import type { SetRecorder } from './set-recorder.js';
import { type ChangeSteps, NotYet } from './version-steps.js';
import type { VolumeState } from './volume-state.js';

/** Flushes while writes go on, before they are held: again while there is much left. */
const FLUSHES_AHEAD = 3;
/** A flush that takes no longer leaves little for the one that the guest waits for. */
const SHORT_FLUSH_MS = 50;
const ERASES_AT_ONCE = 16;

/**
 * One change of the versions or the size of an open volume (docs/snapshots.md). A new head is a seal for which writes are
 * held: none is on its way when the MDS makes the version, so what is frozen is durable and the same everywhere.
 */
export class VersionChanging {
  private readonly state: VolumeState;
  private readonly recorder: SetRecorder;
  private readonly flusher: Flusher;
  private readonly requests: RequestQueue;
  private readonly live: LiveSnapshot;

  constructor(state: VolumeState, recorder: SetRecorder, flusher: Flusher, requests: RequestQueue) {
    this.state = state;
    this.recorder = recorder;
    this.flusher = flusher;
    this.requests = requests;
    this.live = new LiveSnapshot(state, recorder, flusher, requests);
  }

  /** @throws RawstorError BUSY, FENCED, what the MDS refuses it with, what `wait` throws */
  async run(change: VersionChange, askedId: string | null, steps: ChangeSteps): Promise<void> {
    const { kind } = change;
    if (kind === 'trimmed') return this.trim(steps);
    if (makesHead(change) || kind === 'resize') await this.trim(steps);
    // Where no guest writes there is nothing to record ahead of.
    if (kind === 'snapshot' && !this.state.givesWay) return this.snapshot(change, askedId, steps);
    await this.live.abandon(steps);
    if (makesHead(change)) return this.freeze(change, askedId, steps);
    if (kind === 'resize') return this.resize(change, askedId, steps);
    await this.record(change, askedId, steps);
  }

  private async snapshot(wish: SnapshotChange, askedId: string | null, steps: ChangeSteps): Promise<void> {
    checkReconciled(this.state);
    await this.live.take(wish, askedId, await this.flushAhead(steps), steps);
  }

  private async freeze(change: VersionChange, askedId: string | null, steps: ChangeSteps): Promise<void> {
    const { state, requests, flusher } = this;
    checkReconciled(state);
    const marked = await this.flushAhead(steps);
    requests.holdBack();
    try {
      const parts = { state, flusher, writes: requests.writes };
      // A head that shows something else is read by nobody before all replicas know it.
      const record = () => this.alone(steps, () => this.record(change, askedId, steps));
      await sealBehind(parts, marked > 0, (step) => steps.wait(step), record);
    } finally {
      requests.letGo();
    }
  }

  /** Most of it, while the guest writes on; then the regions it writes to are made ready for the next tag (I2). */
  private async flushAhead(steps: ChangeSteps): Promise<number> {
    const { state } = this;
    if (state.closing) return 0;
    for (let i = 0; i < FLUSHES_AHEAD; i++) {
      const beganAtMs = state.env.clock.nowMs();
      await steps.wait(this.flusher.flush());
      if (state.env.clock.nowMs() - beganAtMs <= SHORT_FLUSH_MS) break;
    }
    return await steps.wait(this.recorder.markRecent(state.epoch + 1));
  }

  /** Only the record changes: what is cut off is erased behind that, before anything else is made of it. */
  private async resize(change: VersionChange, askedId: string | null, steps: ChangeSteps): Promise<void> {
    const { requests } = this;
    requests.holdBack();
    try {
      await steps.wait(requests.writes.drained());
      // What is new is read by nobody before all replicas know that it is there.
      await this.alone(steps, () => this.record(change, askedId, steps));
    } finally {
      requests.letGo();
    }
  }

  /** Erases what a smaller size has cut off, so that a volume which grows again never shows it. */
  private async trim(steps: ChangeSteps): Promise<void> {
    const { sizeBytes, tailBytes = 0 } = this.state.object;
    if (!hasTail(this.state.object)) return;
    // Replicas that differ there would be made alike again by what was cut off.
    checkReconciled(this.state);
    await this.erase(sizeBytes, tailBytes, steps);
    await this.record({ kind: 'trimmed' }, null, steps);
  }

  private async erase(start: number, end: number, steps: ChangeSteps): Promise<void> {
    const erasing = { stopped: false };
    try {
      await steps.wait(this.eraseChunks(start, end, erasing));
      await steps.wait(this.flusher.flush());
    } finally {
      erasing.stopped = true;
    }
  }

  /** Chunk by chunk, where some replica has anything. */
  private async eraseChunks(start: number, end: number, erasing: { stopped: boolean }): Promise<void> {
    const { state, requests } = this;
    const { chunkSizeBytes } = state.object;
    const regions = new RegionSet(state.regionsPerChunk);
    for (const member of state.members.filter((one) => one.takesWrites)) {
      const away = () => new NotYet('a replica is away', member.ostId);
      if (!member.attached) throw away();
      await listRegions(member, 0, regions).catch(() => {
        throw away();
      });
    }
    const first = Math.floor(start / chunkSizeBytes);
    const chunks = [...new Set([...regions].map(([chunk]) => chunk))].filter((chunk) => chunk >= first);
    const queue = chunks.values();
    const worker = async () => {
      for (const chunk of queue) {
        if (erasing.stopped) return;
        const from = Math.max(start, chunk * chunkSizeBytes);
        const to = Math.min(end, (chunk + 1) * chunkSizeBytes);
        if (to > from) await requests.own(BlockOp.DISCARD, from, to - from);
      }
    };
    await Promise.all(Array.from({ length: ERASES_AT_ONCE }, worker));
  }

  /** While nothing else is done to the volume, not even a read. */
  private async alone(steps: ChangeSteps, action: () => Promise<void>): Promise<void> {
    const { locks } = this.state;
    let isGranted = () => {};
    const granted = new Promise<void>((resolve) => {
      isGranted = resolve;
    });
    const holder: LockHolder = {
      lockStart: 0,
      lockEnd: Number.MAX_SAFE_INTEGER,
      lockExclusive: true,
      lockSlot: -1,
      lockWritesNothing: true,
      lockGranted: () => isGranted(),
    };
    try {
      if (!locks.acquire(holder)) await steps.wait(granted);
      await action();
    } finally {
      if (holder.lockSlot >= 0) locks.release(holder);
      else locks.cancel(holder);
    }
  }

  private async record(change: VersionChange, askedId: string | null, steps: ChangeSteps): Promise<void> {
    const hold = () => {
      this.state.acksHeld = true;
    };
    await steps.swap(this.recorder.changeVersions(change, askedId, hold));
    await steps.store();
  }
}
