import { asRawstorError, RawstorError } from '../../common/errors.js';
import type { Member } from '../member.js';
import type { VolumeState } from '../volume-state.js';
import { copySource, orderCopy, regionRange, withRangeLocked } from './copy.js';
import { copyAround } from './copy-around.js';
import { type StaleRegions, staleRegions } from './stale-regions.js';

const ATTACH_TIMEOUT_MS = 3000;
const BACKOFF_MIN_MS = 500;
const BACKOFF_MAX_MS = 30_000;
/** Regions copied at once: keeps a link busy without starving the guest. */
const COPIES_AT_ONCE = 4;
const JOIN_TRIES = 5;

export interface ResyncProgress {
  readonly regionsTotal: number;
  readonly regionsDone: number;
  readonly copiedBytes: number;
}

/** What a resync needs of the volume. */
export interface ResyncOwner {
  join(member: Member): Promise<boolean>;
  /** Resolves when no region is unreconciled. */
  reconciled(): Promise<void>;
  fenced(error: RawstorError): void;
}

/** Brings members that left the set back (I9): attach, then list, then copy under range locks, then join. */
export class Resync {
  private readonly state: VolumeState;
  private readonly owner: ResyncOwner;
  private readonly active = new Map<Member, { total: number; done: number }>();
  /** Why the last try came to nothing. */
  private readonly failures = new Map<Member, string>();
  /** Ends the pauses between tries. */
  private hurried: (() => void)[] = [];

  constructor(state: VolumeState, owner: ResyncOwner) {
    this.state = state;
    this.owner = owner;
  }

  progress(member: Member): ResyncProgress | null {
    const at = this.active.get(member);
    if (at === undefined) return null;
    return { regionsTotal: at.total, regionsDone: at.done, copiedBytes: member.copiedBytes };
  }

  /** Why a member is not in sync yet, as the last try said; '' where that is not known. */
  waitsFor(member: Member): string {
    return this.failures.get(member) ?? '';
  }

  /** Something has changed: whoever pauses tries now. */
  hurry(): void {
    for (const again of this.hurried.splice(0)) again();
  }

  /** Tries until the member is in the set again or the volume closes. */
  start(member: Member): void {
    if (this.active.has(member)) return;
    this.active.set(member, { total: 0, done: 0 });
    this.loop(member)
      .catch((error) => this.state.env.log.error({ error: asRawstorError(error).message }, 'resync ended'))
      .finally(() => {
        this.active.delete(member);
        this.failures.delete(member);
        // It may have left again between its join and here.
        if (this.wanted(member)) this.start(member);
      });
  }

  private wanted(member: Member): boolean {
    const { state } = this;
    const present = state.member(member.ostId) === member;
    return present && !member.inSync && state.fatal === null && !state.closing;
  }

  private async loop(member: Member): Promise<void> {
    let backoffMs = BACKOFF_MIN_MS;
    while (this.wanted(member)) {
      try {
        if (await this.once(member)) return;
      } catch (error) {
        const failure = asRawstorError(error);
        if (failure.code === 'FENCED') return this.owner.fenced(failure);
        this.failures.set(
          member,
          failure.where === undefined ? failure.message : `${failure.message} (${failure.where})`,
        );
        this.state.env.log.debug({ ostId: member.ostId, reason: failure.message }, 'resync not possible yet');
      }
      member.receiving = false;
      if (member.attached && !member.inSync) member.end(false);
      backoffMs = (await this.pause(backoffMs)) ? BACKOFF_MIN_MS : Math.min(backoffMs * 2, BACKOFF_MAX_MS);
    }
  }

  /** @returns whether it was cut short */
  private pause(pauseMs: number): Promise<boolean> {
    return new Promise((resolve) => {
      const hurried = () => {
        timer.cancel();
        resolve(true);
      };
      const timer = this.state.env.clock.after(pauseMs, () => {
        this.hurried = this.hurried.filter((other) => other !== hurried);
        resolve(false);
      });
      this.hurried.push(hurried);
    });
  }

  private async once(member: Member): Promise<boolean> {
    const { state } = this;
    // Always a fresh session: nothing left of an earlier one may be applied during the resync.
    if (member.attached) member.end(false);
    member.copyFailure = null;
    const session = { epoch: state.sessionEpoch, number: state.sessionNumber() };
    await member.attach(state.env.connector, state.env.clock, state.object, session, ATTACH_TIMEOUT_MS);
    // The record has changed while it attached: it would be brought nothing of a head that it does not know.
    if (member.keptEpoch < state.recordEpoch) throw new RawstorError('BUSY', 'it knows an older record');
    await this.owner.reconciled();
    if (!member.attached || !this.wanted(member)) return false;
    member.receiving = true;
    const stale = await staleRegions(state, member);
    const { regions } = stale;
    const progress = this.active.get(member)!;
    progress.total = regions.size;
    progress.done = 0;
    state.env.log.info(
      { volume: state.name, ostId: member.ostId, regions: regions.size, since: member.staleSince },
      'resync begins',
    );
    await this.sweep(member, stale, () => progress.done++);
    for (let i = 0; i < JOIN_TRIES && member.receiving && member.attached; i++) {
      if (await this.owner.join(member)) return true;
      await state.env.clock.sleep(100);
    }
    return false;
  }

  private async sweep(member: Member, { regions, unsure }: StaleRegions, onDone: () => void): Promise<void> {
    const queue = regions[Symbol.iterator]();
    const worker = async () => {
      for (const [chunk, region] of queue) {
        if (!member.receiving || !member.attached || this.state.fatal !== null) return;
        await this.copyOne(member, chunk, region, !unsure.has(chunk, region));
        onDone();
      }
    };
    await Promise.all(Array.from({ length: COPIES_AT_ONCE }, worker));
    if (!member.receiving || !member.attached) {
      // Its session was ended by that, which is no reason.
      if (member.copyFailure !== null) throw member.copyFailure;
      throw new RawstorError('CONNECTION_LOST', 'the OST left during its resync', { where: member.ostId });
    }
  }

  private async copyOne(member: Member, chunk: number, region: number, sure: boolean): Promise<void> {
    const { state } = this;
    const range = regionRange(state, chunk, region);
    const length = range.end - range.start;
    await state.env.throttle?.turn(length);
    try {
      await withRangeLocked(state, range, () => this.copyLocked(member, chunk, region, length, sure));
    } finally {
      state.env.throttle?.release(length);
    }
  }

  private async copyLocked(
    member: Member,
    chunk: number,
    region: number,
    length: number,
    sure: boolean,
  ): Promise<void> {
    const { state } = this;
    const failed: Member[] = [];
    const damaged: Member[] = [];
    const offset = region * state.regionSizeBytes;
    while (member.receiving && member.attached) {
      const placement = state.placement(chunk);
      const source = copySource(placement, member, [...failed, ...damaged]);
      if (source !== null) {
        const outcome = await orderCopy(state, source, member, chunk, offset, length, {
          remember: sure,
          since: member.staleSince,
        });
        if (outcome === 'copied') return;
        if (outcome === 'source') failed.push(source);
        if (outcome === 'damaged') damaged.push(source);
      } else if (damaged.length > 0 && failed.length === 0) {
        // What one that is away may have is not given up.
        const away = placement.find((one) => one !== member && one.inSync && !damaged.includes(one));
        if (away !== undefined) throw new RawstorError('BUSY', 'a source is away', { where: away.ostId });
        const { staleSince } = member;
        const outcome = await copyAround(state, damaged, [member], chunk, offset, length, staleSince);
        if (outcome === 'copied') return;
        if (outcome === 'source') failed.push(...damaged);
      } else if (failed.length > 0) {
        // Not waited for under the lock: that would hold up the guest.
        throw new RawstorError('IO', `a region of chunk ${chunk} can be copied from nobody`, {
          where: failed.map(({ ostId }) => ostId).join(', '),
        });
      }
      await state.env.clock.sleep(100);
      if (state.fatal !== null) return;
    }
  }
}
