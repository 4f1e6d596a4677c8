import { asRawstorError, RawstorError } from '../common/errors.js';
import type { Member as MemberRecord } from '../protocol/records.js';
import { acceptLoss } from './accept-loss.js';
import type { ControlLink } from './control-link.js';
import { type Flusher, flushMember } from './flusher.js';
import type { IoPath } from './io-path.js';
import type { Member } from './member.js';
import { canDrop, changedMembers } from './replica-set.js';
import { SetRecorder } from './set-recorder.js';
import type { VolumeState } from './volume-state.js';

const REATTACH_TIMEOUT_MS = 1000;
const RETRY_MS = 300;
const STORE_RETRY_MS = 20;

/** What membership asks of the volume. */
export interface MembershipOwner {
  fail(error: RawstorError): void;
  /** A member has left the set, or one that was away may come back: recovery looks after it. */
  memberLeft(member: Member): void;
  /** Resolves when no write is in flight; new ones wait until `writesHeld` is taken back. */
  holdWrites(): Promise<void>;
  releaseWrites(): void;
  /** Regions have become unreconciled, perhaps. */
  regionsDiffer(): void;
}

/**
 * The one place where the in-sync set changes. A single loop, so that at most one compare-and-swap is
 * outstanding: lost members first, then joins, then seals.
 */
export class Membership {
  private readonly state: VolumeState;
  private readonly recorder: SetRecorder;
  private readonly path: IoPath;
  private readonly flusher: Flusher;
  private readonly owner: MembershipOwner;
  private joins: { member: Member; resolve: (joined: boolean) => void }[] = [];
  private seals: { resolve: () => void; reject: (error: RawstorError) => void }[] = [];
  private running: Promise<void> | null = null;
  private again = false;
  private interrupt: (() => void) | null = null;

  constructor(state: VolumeState, mds: ControlLink, path: IoPath, flusher: Flusher, owner: MembershipOwner) {
    this.state = state;
    this.recorder = new SetRecorder(state, mds);
    this.path = path;
    this.flusher = flusher;
    this.owner = owner;
  }

  /** Something has changed: look. */
  wake(): void {
    this.again = true;
    if (this.interrupt !== null && this.lostMembers().length > 0) this.interrupt();
    this.running ??= this.loop().finally(() => {
      this.running = null;
      // Asked for after the loop had looked for the last time, and before it was known to have ended.
      if (this.again && this.state.fatal === null) this.wake();
    });
  }

  /** Takes a resynced member into the set; false when it, or any other, failed meanwhile. */
  join(member: Member): Promise<boolean> {
    return new Promise((resolve) => {
      this.joins.push({ member, resolve });
      this.wake();
    });
  }

  /** Records "identical up to now" at the MDS: writes pause while it is done. */
  seal(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.seals.push({ resolve, reject });
      this.wake();
    });
  }

  private async loop(): Promise<void> {
    while (this.again && this.state.fatal === null) {
      this.again = false;
      try {
        await this.step();
      } catch (error) {
        this.owner.fail(asRawstorError(error, `volume ${this.state.name}`));
      }
    }
    if (this.state.fatal !== null) this.failWaiting(this.state.fatal);
  }

  private async step(): Promise<void> {
    const lost = this.lostMembers();
    if (lost.length > 0) {
      await this.handleLost(lost);
      return this.wake();
    }
    if (this.state.acksHeld) {
      // A survivor failed while it stored the set, and came back or left since.
      if (await this.recorder.storeSet()) this.releaseAcks();
      // The end of its session may take a moment to be told: asking at once again would leave no time for that.
      else await this.state.env.clock.sleep(STORE_RETRY_MS);
      return this.wake();
    }
    const join = this.joins.shift();
    if (join !== undefined) {
      join.resolve(await this.handleJoin(join.member));
      return this.wake();
    }
    if (this.seals.length > 0) {
      const seals = this.seals;
      this.seals = [];
      try {
        await this.handleSeal();
        for (const seal of seals) seal.resolve();
      } catch (error) {
        for (const seal of seals) seal.reject(asRawstorError(error));
      }
      this.wake();
    }
  }

  private lostMembers(): Member[] {
    return this.state.members.filter((member) => member.inSync && !member.readable);
  }

  /** Attach again where that is likely to work, drop the rest, wait where nothing may be dropped (I6, I8). */
  private async handleLost(lost: readonly Member[]): Promise<void> {
    const { state } = this;
    const alone = !this.droppable(lost);
    await Promise.all(
      lost.map(async (member) => {
        if (member.attached || (member.silent && !alone)) return;
        await this.attach(member).catch((error) => {
          if (asRawstorError(error).code === 'FENCED') throw error;
        });
      }),
    );
    for (const member of lost) if (member.readable) this.path.resend(member);
    // Decided for all that are lost by now together.
    if (this.lostMembers().some((member) => !lost.includes(member))) return;
    const gone = lost.filter((member) => !member.attached);
    const emptied = lost.filter((member) => member.attached && member.emptied);
    const leaving = [...emptied, ...gone];
    if (leaving.length === 0) return this.path.review();
    if (this.droppable(leaving)) return this.drop(leaving);
    // One by one, those that lost something first; who is only away leaves for the chunks that others serve now.
    const served = state.members.some((member) => member.readable);
    const first = (served ? leaving : emptied).find((member) => this.droppable([member]));
    if (first !== undefined && leaving.length > 1) return this.drop([first]);
    if (gone.length > 0) {
      // Nobody else has all the newest data: wait for it, the guest pauses (I7).
      state.env.log.warn(
        { volume: state.name, waitingFor: gone.map((member) => member.ostId) },
        'the last in-sync replica is away, I/O waits',
      );
      await state.env.clock.sleep(RETRY_MS);
      return;
    }
    await this.acceptLoss(emptied);
  }

  private droppable(members: readonly Member[]): boolean {
    const inSync = new Set(this.state.inSyncMembers().map((member) => member.ostId));
    return canDrop(this.state.object, inSync, new Set(members.map((member) => member.ostId)));
  }

  private async attach(member: Member): Promise<void> {
    const { state } = this;
    const session = { epoch: state.sessionEpoch, number: state.sessionNumber() };
    await member.attach(state.env.connector, state.env.clock, state.object, session, REATTACH_TIMEOUT_MS);
  }

  private async drop(leaving: readonly Member[]): Promise<void> {
    const { state } = this;
    const ids = new Set(leaving.map((member) => member.ostId));
    state.env.log.warn({ volume: state.name, dropped: [...ids] }, 'replicas leave the in-sync set');
    const since = state.object.lastSeal + 1;
    await this.change(changedMembers(state.object.members, { drop: ids }), false);
    for (const member of leaving) {
      member.inSync = false;
      member.staleSince = since;
    }
    if (await this.recorder.storeSet()) this.releaseAcks();
    // Those whose survivors failed meanwhile stay held: the next round drops and stores again.
    for (const member of leaving) this.owner.memberLeft(member);
  }

  private releaseAcks(): void {
    this.state.acksHeld = false;
    for (const member of this.state.members) if (!member.inSync) this.path.giveUp(member);
    this.path.review();
  }

  private async acceptLoss(members: readonly Member[]): Promise<void> {
    if (!(await acceptLoss(this.state, this.recorder, this.flusher, members))) return;
    this.owner.regionsDiffer();
    for (const member of members) this.path.resend(member);
    if (await this.recorder.storeSet()) this.releaseAcks();
  }

  /** From the answer until every survivor has stored the set nothing is acknowledged. */
  private change(members: MemberRecord[], loss: boolean): Promise<void> {
    return this.recorder.changeMembers(members, loss, () => {
      this.state.acksHeld = true;
    });
  }

  /** I9, the end of a resync: drain, flush, compare-and-swap; everything counts from the flush on. */
  private async handleJoin(member: Member): Promise<boolean> {
    const { state } = this;
    if (!member.receiving || !member.attached) return false;
    try {
      await this.unlessLost(member.drained());
    } catch {
      return false;
    }
    if (!member.receiving || !member.attached) return false;
    const session = member.sessionNumber;
    const bootId = member.bootId!;
    member.counts = true;
    member.dirty = false;
    const flushed = await this.unlessLost(flushMember(state, member)).catch(() => false);
    const stillGood = flushed && member.attached && member.sessionNumber === session;
    if (!stillGood || this.lostMembers().length > 0) {
      member.counts = false;
      member.dirty = true;
      if (!member.attached) {
        // Its session ended while it counted: from here on it gets nothing, or that would wait for it for ever (I9).
        member.receiving = false;
        this.path.giveUp(member);
      }
      this.path.review();
      return false;
    }
    await this.recorder.changeMembers(
      changedMembers(state.object.members, { join: new Map([[member.ostId, bootId]]) }),
      false,
    );
    member.inSync = true;
    member.receiving = false;
    member.counts = false;
    member.recordedBootId = bootId;
    member.staleSince = 0;
    state.env.log.info({ volume: state.name, ostId: member.ostId }, 'replica is in sync again');
    // A survivor that cannot store it is lost, and the next round sees to it.
    if (await this.recorder.storeSet()) this.releaseAcks();
    return true;
  }

  /**
   * Waits for work that a lost member may hold up: gives up as soon as one is lost, because it is this loop
   * that would have to see to it.
   */
  private unlessLost<T>(work: Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      this.interrupt = () => reject(new RawstorError('BUSY', 'a replica was lost meanwhile'));
      work.then(resolve, reject);
      if (this.lostMembers().length > 0) this.interrupt();
    });
  }

  private async handleSeal(): Promise<void> {
    const { state } = this;
    if (state.unreconciled.size > 0) throw new RawstorError('BUSY', 'regions are still to be reconciled');
    try {
      await this.unlessLost(this.owner.holdWrites());
      await this.unlessLost(this.flusher.flush());
      if (state.unreconciled.size > 0) throw new RawstorError('BUSY', 'a write failed meanwhile');
      // What is written from here on is tagged newer, and need not wait for the answer of the MDS.
      state.tag = state.epoch + 1;
      state.unsealed = false;
    } finally {
      this.owner.releaseWrites();
    }
    try {
      await this.recorder.seal();
    } catch (error) {
      state.unsealed = true;
      throw error;
    }
    await this.recorder.storeSet();
  }

  private failWaiting(error: RawstorError): void {
    for (const join of this.joins.splice(0)) join.resolve(false);
    for (const seal of this.seals.splice(0)) seal.reject(error);
  }
}
