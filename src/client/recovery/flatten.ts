import { asRawstorError, RawstorError } from '../../common/errors.js';
import type { Flusher } from '../flusher.js';
import type { Member } from '../member.js';
import { RegionSet } from '../region-set.js';
import type { RequestQueue } from '../request-queue.js';
import type { VolumeState } from '../volume-state.js';
import { listRegions, regionRange, withRangeLocked } from './copy.js';

const FLATTEN_TIMEOUT_MS = 20_000;
const REGIONS_AT_ONCE = 4;
const RETRY_MS = 100;
/** How long a replica may be neither there nor out of the set. */
const PATIENCE_MS = 60_000;

/**
 * Copies what a clone shows of its parent into the clone, on every OST for itself: a change like a write, with the
 * present tag, so that a member that is away gets it by its resync. May be given up and begun again at any time.
 */
export class Flatten {
  private readonly state: VolumeState;
  private readonly flusher: Flusher;
  private readonly requests: RequestQueue;

  constructor(state: VolumeState, flusher: Flusher, requests: RequestQueue) {
    this.state = state;
    this.flusher = flusher;
    this.requests = requests;
  }

  /** Everything is durable in the clone when resolved. @throws RawstorError NOT_FOUND, BUSY, UNAVAILABLE */
  async run(): Promise<void> {
    const { state } = this;
    const { parent, snapshots, name: where } = state.object;
    if (parent === null) throw new RawstorError('NOT_FOUND', 'it is no clone, or not any more', { where });
    if (snapshots.length > 0) {
      throw new RawstorError('BUSY', `it has snapshots, which need ${parent.name} too`, {
        where,
        hint: 'remove them, wait until they are merged, then flatten',
      });
    }
    if (state.flattening) throw new RawstorError('BUSY', 'it is being flattened already', { where });
    state.flattening = true;
    try {
      let { lossesAccepted } = state;
      const regions = new RegionSet(state.regionsPerChunk);
      for (const member of state.inSyncMembers()) await listRegions(member, 0, regions);
      state.env.log.info({ volume: where, regions: regions.size, parent: parent.name }, 'flattening begins');
      await this.sweep(regions);
      await this.flusher.flush();
      // What was flattened and not flushed may be gone again, and is still to be had from the parent (I8, I10).
      while (lossesAccepted !== state.lossesAccepted) {
        ({ lossesAccepted } = state);
        state.env.log.warn({ volume: where, parent: parent.name }, 'flattening begins anew after a loss');
        await this.sweep(regions);
        await this.flusher.flush();
      }
    } finally {
      state.flattening = false;
    }
  }

  private async sweep(regions: RegionSet): Promise<void> {
    const queue = regions[Symbol.iterator]();
    let failed = false;
    const worker = async () => {
      for (const [chunk, region] of queue) {
        if (failed) return;
        try {
          await this.one(chunk, region);
        } catch (error) {
          failed = true;
          throw error;
        }
      }
    };
    await Promise.all(Array.from({ length: REGIONS_AT_ONCE }, worker));
  }

  private async one(chunk: number, region: number): Promise<void> {
    const { state, requests } = this;
    for (;;) {
      await requests.whenLetGo();
      const range = insideRange(state, chunk, region);
      if (range === null) return;
      const length = range.end - range.start;
      await state.env.throttle?.turn(length);
      try {
        const done = await withRangeLocked(state, range, async () => {
          // A change of versions or size waits for what has begun, and nothing begins while it holds changes back.
          if (requests.holdsBack || insideRange(state, chunk, region)?.end !== range.end) return false;
          await this.locked(chunk, region, range);
          return true;
        });
        if (done) return;
      } finally {
        state.env.throttle?.release(length);
      }
    }
  }

  private async locked(chunk: number, region: number, range: { start: number; end: number }): Promise<void> {
    const { state } = this;
    const done = new Set<Member>();
    const { clock } = state.env;
    const untilMs = clock.nowMs() + PATIENCE_MS;
    // A seal waits for it, as for a write.
    const generation = this.requests.writes.begin();
    state.unsealed.note(range.start, range.end, clock.nowMs());
    try {
      for (;;) {
        if (state.fatal !== null) throw state.fatal;
        if (state.closing) throw new RawstorError('UNAVAILABLE', 'the volume is being closed');
        const waiting = state.placement(chunk).filter((one) => one.takesWrites && !done.has(one));
        if (waiting.length === 0) return;
        await Promise.all(waiting.map((member) => this.on(member, chunk, region, range, done)));
        if (waiting.every((member) => done.has(member))) continue;
        if (clock.nowMs() > untilMs) throw new RawstorError('UNAVAILABLE', 'a replica is away');
        // It is attached again, or dropped: then it gets this by its resync.
        await clock.sleep(RETRY_MS);
      }
    } finally {
      this.requests.writes.end(generation);
    }
  }

  private async on(
    member: Member,
    chunk: number,
    region: number,
    { start, end }: { start: number; end: number },
    done: Set<Member>,
  ): Promise<void> {
    const { state } = this;
    const { peer, handle } = member;
    if (peer === null) return;
    const offset = region * state.regionSizeBytes;
    const asked = { handle, chunk, offset, length: end - start, tag: state.tag };
    try {
      const { copiedBytes } = await peer.call('ost.flatten', asked, FLATTEN_TIMEOUT_MS);
      member.dirty = true;
      state.env.throttle?.spend(copiedBytes);
      done.add(member);
    } catch (error) {
      const reason = asRawstorError(error).message;
      state.env.log.warn({ ostId: member.ostId, chunk, offset, reason }, 'a region could not be flattened');
      // What became of it is unknown: nothing of it may be applied later.
      if (member.peer === peer) member.end(member.inSync);
    }
  }
}

/** A region as far as it is in the volume: what its parent has behind that never shows. */
function insideRange(
  state: VolumeState,
  chunk: number,
  region: number,
): { start: number; end: number } | null {
  const { start, end } = regionRange(state, chunk, region);
  const { sizeBytes } = state.object;
  return start >= sizeBytes ? null : { start, end: Math.min(end, sizeBytes) };
}
