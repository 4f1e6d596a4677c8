import type { Timer } from '../common/clock.js';
import { asRawstorError, type RawstorError } from '../common/errors.js';
import type { RecoveryProgress } from '../protocol/object-info.js';
import type { AskedChange } from '../protocol/version-messages.js';
import type { ControlLink } from './control-link.js';
import type { Member } from './member.js';
import type { MoveNews } from './recovery/move.js';
import type { VolumeState } from './volume-state.js';

/** After a renewal that was not answered. */
const RENEW_RETRY_MS = 500;

export interface VolumeTimersOwner {
  /** A tick has passed. */
  look(): void;
  fail(error: RawstorError): void;
  /** The MDS has answered a renewal. */
  renewed(news: MoveNews & { readonly asked: AskedChange | null; readonly handOver: boolean }): void;
  /** What is being copied, to be told with it. */
  recovery(): RecoveryProgress[];
  /** A second has passed, or less. */
  lookForSeal(): void;
}

/** What a volume does by the clock: keeps sessions confirmed, notices silence, renews the lease, seals. */
export class VolumeTimers {
  private readonly state: VolumeState;
  private readonly mds: ControlLink;
  private readonly options: { readOnly: boolean; leaseMs: number };
  private readonly owner: VolumeTimersOwner;
  private readonly timers: Timer[] = [];
  private ticks: Timer | null = null;
  private unwatch = () => {};
  private retry: Timer | null = null;
  private lastTickAtMs = 0;
  /** This process was stopped or starved until then. */
  private pausedUntilMs = Number.NEGATIVE_INFINITY;
  private renewing = false;
  /** Asked for while one was on its way, which may have been answered before what it was asked for. */
  private again = false;

  constructor(
    state: VolumeState,
    mds: ControlLink,
    options: { readOnly: boolean; leaseMs: number },
    owner: VolumeTimersOwner,
  ) {
    this.state = state;
    this.mds = mds;
    this.options = options;
    this.owner = owner;
  }

  start(): void {
    const { clock, confirmMs, seals } = this.state.env;
    this.lastTickAtMs = clock.nowMs();
    this.ticks = clock.every(Math.max(20, confirmMs / 4), () => this.tick());
    if (this.options.readOnly) return;
    this.timers.push(clock.every(Math.max(100, this.options.leaseMs / 3), () => this.renew()));
    // The MDS soon lets go of a lease whose connection is lost, and a restarted one knows of none.
    this.unwatch = this.mds.watch(() => this.renew());
    const sealPeriodMs = Math.min(1000, seals.idleMs, seals.periodMs);
    this.timers.push(clock.every(sealPeriodMs, () => this.owner.lookForSeal()));
  }

  /** Nothing is begun any more; but who is silent is given up, or what is under way would not end. */
  wane(): void {
    for (const timer of this.timers) timer.cancel();
    this.timers.length = 0;
    this.unwatch();
    this.retry?.cancel();
  }

  stop(): void {
    this.wane();
    this.ticks?.cancel();
  }

  /** Pings what has not confirmed lately; gives up what is silent. */
  private tick(): void {
    const { clock, confirmMs, silenceMs } = this.state.env;
    const nowMs = clock.nowMs();
    const period = Math.max(20, confirmMs / 4);
    // This process was stopped or starved: that says nothing about the others.
    const ownPause = nowMs - this.lastTickAtMs > period * 3;
    if (ownPause) this.pausedUntilMs = nowMs;
    this.lastTickAtMs = nowMs;
    for (const member of this.state.members) {
      if (!member.attached) continue;
      if (member.answered || ownPause || !member.waitsForAnswer) {
        member.answered = false;
        member.progressAtMs = nowMs;
      } else if (nowMs - member.progressAtMs > silenceMs) {
        this.giveUp(member, 'an OST answers nothing, it is given up');
        continue;
      }
      if (this.isStuck(member, nowMs)) {
        this.giveUp(
          member,
          'an OST answers, but not an operation of long ago: its disk is stuck, it is given up',
        );
        continue;
      }
      if (nowMs - member.confirmedAtMs > confirmMs / 3) member.sendPing();
    }
    this.owner.look();
  }

  private isStuck(member: Member, nowMs: number): boolean {
    if (member.sent.size === 0) return false;
    return nowMs - Math.max(member.oldestSentAtMs(), this.pausedUntilMs) > this.state.env.stuckMs;
  }

  private giveUp(member: Member, why: string): void {
    const { log, silenceMs, stuckMs } = this.state.env;
    log.warn({ ostId: member.ostId, silenceMs, stuckMs }, why);
    member.end(true);
  }

  /** Keeps the lease, and learns where the OSTs are. */
  renew(): void {
    if (this.renewing) {
      this.again = true;
      return;
    }
    this.renewing = true;
    this.again = false;
    this.retry?.cancel();
    const { object, sessionEpoch, toldLossEpoch } = this.state;
    const told = toldLossEpoch > 0 ? { toldLossEpoch } : {};
    this.mds
      .call('mds.renew', { id: object.id, sessionEpoch, recovery: this.owner.recovery(), ...told }, 5000)
      .then(
        (answer) => {
          for (const ost of answer.osts) {
            const member = this.state.member(ost.ostId);
            if (member !== undefined) member.addresses = ost.addresses;
          }
          this.owner.renewed(answer);
        },
        (error) => {
          // An MDS that is away costs a running volume nothing; only its word that another writer came does.
          const failure = asRawstorError(error);
          if (failure.code === 'FENCED' || failure.code === 'NOT_FOUND') return this.owner.fail(failure);
          if (this.timers.length > 0)
            this.retry = this.state.env.clock.after(RENEW_RETRY_MS, () => this.renew());
        },
      )
      .finally(() => {
        this.renewing = false;
        if (this.again && this.timers.length > 0) this.renew();
      });
  }
}
