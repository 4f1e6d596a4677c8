import { asRawstorError, RawstorError } from '../common/errors.js';
import type { Member as MemberRecord } from '../protocol/records.js';
import type { VersionChange } from '../protocol/version-messages.js';
import { acceptLoss } from './accept-loss.js';
import type { ControlLink } from './control-link.js';
import type { Flusher } from './flusher.js';
import type { IoPath } from './io-path.js';
import { join } from './join.js';
import { LostMembers } from './lost-members.js';
import type { Member } from './member.js';
import { byLack, canDrop, changedMembers } from './replica-set.js';
import type { RequestQueue } from './request-queue.js';
import { Sealing } from './sealing.js';
import { SetRecorder } from './set-recorder.js';
import { isTakenOver } from './taken-over.js';
import { VersionChanging } from './version-change.js';
import type { VolumeState } from './volume-state.js';

const RETRY_MS = 300;
const STORE_RETRY_MS = 20;

/** What membership asks of the volume. */
export interface MembershipOwner {
  fail(error: RawstorError): void;
  /** A member has left the set, or one that was away may come back: recovery looks after it. */
  memberLeft(member: Member): void;
  /** Regions have become unreconciled, perhaps. */
  regionsDiffer(): void;
}

interface Waiter {
  resolve(): void;
  reject(error: RawstorError): void;
}

/** Why a join, a seal or a change of versions begins anew. */
const URGENT = new RawstorError('BUSY', 'something more urgent came');

/**
 * The one place where the in-sync set changes. A single loop, so that at most one compare-and-swap is
 * outstanding: lost members first, then joins, then changes of versions, then seals.
 */
export class Membership {
  private readonly state: VolumeState;
  private readonly recorder: SetRecorder;
  private readonly path: IoPath;
  private readonly flusher: Flusher;
  private readonly lost: LostMembers;
  private readonly sealing: Sealing;
  private readonly changing: VersionChanging;
  private readonly owner: MembershipOwner;
  private joins: { member: Member; resolve: (joined: boolean) => void }[] = [];
  private seals: Waiter[] = [];
  private changes: (Waiter & { change: VersionChange; askedId: string | null })[] = [];
  private running: Promise<void> | null = null;
  private again = false;
  /** What is waited for is given up when this becomes true. */
  private interrupt: { when: () => boolean; give: () => void } | null = null;

  constructor(
    state: VolumeState,
    mds: ControlLink,
    path: IoPath,
    flusher: Flusher,
    requests: RequestQueue,
    owner: MembershipOwner,
  ) {
    this.state = state;
    this.recorder = new SetRecorder(state, mds);
    this.path = path;
    this.flusher = flusher;
    this.lost = new LostMembers(state, path);
    this.sealing = new Sealing(state, this.recorder, flusher, requests.writes);
    this.changing = new VersionChanging(state, this.recorder, flusher, requests);
    this.owner = owner;
  }

  /** Something has changed: look. */
  wake(): void {
    this.again = true;
    if (this.interrupt?.when()) this.interrupt.give();
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

  /** Records "identical up to now" at the MDS, while writes go on. */
  seal(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.seals.push({ resolve, reject });
      this.wake();
    });
  }

  /** @param askedId the wish that it answers. @throws RawstorError as VersionChanging does */
  changeVersions(change: VersionChange, askedId: string | null): Promise<void> {
    return new Promise((resolve, reject) => {
      this.changes.push({ change, askedId, resolve, reject });
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
    const lost = this.lost.members();
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
    const change = this.changes.shift();
    if (change !== undefined) {
      const again = () => void this.changes.unshift(change);
      await this.carryOut([change], () => this.handleChange(change.change, change.askedId), again);
      return this.wake();
    }
    if (this.seals.length > 0) {
      const seals = this.seals;
      this.seals = [];
      await this.carryOut(
        seals,
        () => this.handleSeal(),
        () => void this.seals.unshift(...seals),
      );
      this.wake();
    }
  }

  /** Does what others wait for, or leaves it for later when something more urgent comes. */
  private async carryOut(
    waiters: readonly Waiter[],
    work: () => Promise<void>,
    again: () => void,
  ): Promise<void> {
    try {
      await work();
      for (const waiter of waiters) waiter.resolve();
    } catch (error) {
      // A close does not wait for who is lost.
      const { closing } = this.state;
      if (error === URGENT && !(closing && this.lost.any())) return again();
      const failure = asRawstorError(error);
      for (const waiter of waiters) waiter.reject(failure);
      if (!closing && isTakenOver(failure)) throw failure;
    }
  }

  /** Attach again where that is likely to work, drop the rest, wait where nothing may be dropped (I6, I8). */
  private async handleLost(lost: readonly Member[]): Promise<void> {
    const { state } = this;
    const alone = !this.droppable(lost);
    await this.lost.attachAgain(lost.filter((member) => alone || !member.silent));
    // Decided for all that are lost by now together.
    if (this.lost.members().some((member) => !lost.includes(member))) return;
    const gone = lost.filter((member) => !member.attached);
    const emptied = lost.filter((member) => member.attached && member.emptied).sort(byLack);
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

  private async drop(leaving: readonly Member[]): Promise<void> {
    const { state } = this;
    const ids = new Set(leaving.map((member) => member.ostId));
    state.env.log.warn({ volume: state.name, dropped: [...ids] }, 'replicas leave the in-sync set');
    const since = state.object.lastSeal + 1;
    for (const member of leaving) member.leaving = true;
    await this.change(changedMembers(state.object.members, { drop: ids }), false);
    for (const member of leaving) {
      member.leaving = false;
      member.dropped(since);
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
    const hold = () => {
      this.state.acksHeld = true;
    };
    return this.lost.answered(this.recorder.changeMembers(members, loss, hold));
  }

  /** Waits for work that something may hold up which this loop would have to see to: gives up as soon as `when`. */
  private unless<T>(when: () => boolean, work: Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      this.interrupt = { when, give: () => reject(URGENT) };
      work.then(resolve, reject);
      if (when()) reject(URGENT);
    });
  }

  private handleJoin(member: Member): Promise<boolean> {
    const { state, recorder, path, lost } = this;
    return join(member, {
      state,
      recorder,
      path,
      lost,
      unlessLost: (work) => this.unless(() => lost.any(), work),
      releaseAcks: () => this.releaseAcks(),
    });
  }

  private async handleSeal(): Promise<void> {
    // A write may wait for a replica that waits for its join.
    const urgent = () => this.lost.any() || this.joins.length > 0;
    await this.sealing.run(
      (step) => this.unless(urgent, step),
      (answer) => this.lost.answered(answer),
    );
    await this.recorder.storeSet();
  }

  private handleChange(change: VersionChange, askedId: string | null): Promise<void> {
    const urgent = () => this.lost.any() || this.joins.length > 0;
    return this.changing.run(change, askedId, {
      wait: (step) => this.unless(urgent, step),
      swap: (answer) => this.lost.answered(answer),
      store: async () => {
        // Who cannot store it is lost, and gets it with the next attach.
        if (await this.recorder.storeSet()) this.releaseAcks();
      },
      storeAhead: async () => {
        await this.recorder.storeSet();
      },
    });
  }

  private failWaiting(error: RawstorError): void {
    for (const join of this.joins.splice(0)) join.resolve(false);
    for (const { reject } of [...this.seals.splice(0), ...this.changes.splice(0)]) reject(error);
  }
}
