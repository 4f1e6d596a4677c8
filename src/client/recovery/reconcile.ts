import type { Member } from '../member.js';
import type { VolumeRequest } from '../records.js';
import { mayServe } from '../replica-choice.js';
import { chunkOf } from '../slicing.js';
import type { VolumeState } from '../volume-state.js';
import { orderCopy, regionRange, withRangeLocked } from './copy.js';
import { copyAround } from './copy-around.js';

const COPIES_AT_ONCE = 4;
/** After a region for which there is no help at present. */
const RETRY_MS = 1000;

const lossesOf = (members: readonly Member[]) => members.reduce((sum, member) => sum + member.losses, 0);

/**
 * Makes regions equal on all in-sync members after an unclean close or a failed write (I7): each is copied
 * from one source to all others. Requests that touch one wait here and move it to the front.
 */
export class Reconcile {
  private readonly state: VolumeState;
  private readonly restart: (request: VolumeRequest) => void;
  private parked: VolumeRequest[] = [];
  /** Regions that requests wait for, those first that were asked for first; each once, however many wait. */
  private readonly urgent = new Set<number>();
  private workers = 0;
  private readonly busy = new Set<string>();
  private idleWaiters: (() => void)[] = [];

  constructor(state: VolumeState, restart: (request: VolumeRequest) => void) {
    this.state = state;
    this.restart = restart;
  }

  /** Keeps a request whose range holds an unreconciled region; it is started again when that may be over. */
  park(request: VolumeRequest): void {
    const { state } = this;
    const { lockStart: start, lockEnd: end } = request;
    this.parked.push(request);
    for (let at = Math.floor(start / state.regionSizeBytes); at * state.regionSizeBytes < end; at++) {
      const chunk = chunkOf(at * state.regionSizeBytes, state.object.chunkSizeBytes);
      if (state.unreconciled.has(chunk, at % state.regionsPerChunk)) this.urgent.add(at);
    }
    this.wake();
  }

  wake(): void {
    if (this.state.unreconciled.size === 0) return this.settleIdle();
    while (this.workers < Math.min(COPIES_AT_ONCE, this.state.unreconciled.size)) {
      this.workers++;
      this.work()
        .catch((error) => this.state.env.log.error({ error: String(error) }, 'reconcile worker failed'))
        .finally(() => {
          this.workers--;
          if (this.state.unreconciled.size > 0 && this.state.fatal === null && this.workers === 0)
            this.wake();
          else this.settleIdle();
        });
    }
  }

  /** Resolves when nothing is unreconciled. */
  done(): Promise<void> {
    if (this.state.unreconciled.size === 0) return Promise.resolve();
    return new Promise((resolve) => this.idleWaiters.push(resolve));
  }

  /** Gives back the requests that wait, when the volume has failed. */
  takeParked(): VolumeRequest[] {
    return this.parked.splice(0);
  }

  private settleIdle(): void {
    if (this.state.unreconciled.size > 0 && this.state.fatal === null) return;
    for (const member of this.state.members) member.behind = false;
    for (const resolve of this.idleWaiters.splice(0)) resolve();
  }

  private async work(): Promise<void> {
    for (;;) {
      if (this.state.fatal !== null) return;
      const next = this.take();
      if (next === null) return;
      const key = `${next.chunk}/${next.region}`;
      this.busy.add(key);
      try {
        await this.reconcileOne(next.chunk, next.region);
      } catch (error) {
        // More damage than is kept, for one: it does not end by trying again at once.
        this.state.env.log.error({ ...next, error: String(error) }, 'a region cannot be made alike now');
        await this.state.env.clock.sleep(RETRY_MS);
      } finally {
        this.busy.delete(key);
      }
      this.release();
    }
  }

  private take(): { chunk: number; region: number } | null {
    const free = (chunk: number, region: number) =>
      this.state.unreconciled.has(chunk, region) && !this.busy.has(`${chunk}/${region}`);
    const { regionsPerChunk } = this.state;
    for (const at of this.urgent) {
      this.urgent.delete(at);
      const next = { chunk: Math.floor(at / regionsPerChunk), region: at % regionsPerChunk };
      if (free(next.chunk, next.region)) return next;
    }
    for (const [chunk, region] of this.state.unreconciled) if (free(chunk, region)) return { chunk, region };
    return null;
  }

  private async reconcileOne(chunk: number, region: number): Promise<void> {
    const { state } = this;
    const range = regionRange(state, chunk, region);
    await withRangeLocked(state, range, async () => {
      const offset = region * state.regionSizeBytes;
      const length = range.end - range.start;
      let failed: Member[] = [];
      let damaged: Member[] = [];
      while (state.fatal === null) {
        const inSync = state.placement(chunk).filter((member) => member.inSync);
        const source = inSync.find(
          (member) => mayServe(member, inSync) && !failed.includes(member) && !damaged.includes(member),
        );
        const losses = lossesOf(inSync);
        // A snapshot or a repair may have been under way in a version below.
        const since = state.object.lastSeal + 1;
        const ready = inSync.every((member) => member.readable);
        if (source !== undefined && ready) {
          const others = inSync.filter((member) => member !== source);
          const copied = await Promise.all(
            others.map((target) => orderCopy(state, source, target, chunk, offset, length, { since })),
          );
          // All from one source in one round, or the round is done again with who is left. What somebody lost since
          // was listed again, and may be what was copied here (I8).
          const whole = copied.every((one) => one === 'copied') && source.inSync && source.attached;
          if (whole && lossesOf(inSync) === losses) {
            return state.unreconciled.delete(chunk, region);
          }
          if (copied.includes('damaged')) damaged.push(source);
          else if (copied.includes('source')) failed.push(source);
        } else if (source === undefined) {
          // Which of the versions of a block it gets is free, so each is taken from whoever can be read.
          const sources = damaged.filter((member) => inSync.includes(member));
          if (ready && sources.length > 0 && failed.length === 0) {
            const outcome = await copyAround(state, sources, inSync, chunk, offset, length, since);
            const whole = outcome === 'copied' && sources.every((one) => one.inSync && one.attached);
            if (whole && lossesOf(inSync) === losses) {
              return state.unreconciled.delete(chunk, region);
            }
          }
          failed = [];
          damaged = [];
        }
        await state.env.clock.sleep(50);
      }
    });
  }

  /** Starts what waited and can go on now: what would only come back here stays. */
  private release(): void {
    const { unreconciled, regionSizeBytes } = this.state;
    const waits = ({ lockStart, lockEnd }: VolumeRequest) =>
      unreconciled.overlaps(lockStart, lockEnd, regionSizeBytes);
    const ready = this.parked.filter((request) => !waits(request));
    if (ready.length === 0) return;
    this.parked = this.parked.filter(waits);
    for (const request of ready) this.restart(request);
  }
}
