import { asRawstorError, RawstorError } from '../common/errors.js';
import type { ObjectInfo } from '../protocol/object-info.js';
import {
  type AskedChange,
  hasTail,
  makesHead,
  mergeable,
  type VersionChange,
} from '../protocol/version-messages.js';
import type { ControlLink } from './control-link.js';
import type { Flusher } from './flusher.js';
import { Forgetting } from './forgetting.js';
import type { Membership } from './membership.js';
import { Flatten } from './recovery/flatten.js';
import type { RequestQueue } from './request-queue.js';
import { NotYet } from './version-steps.js';
import type { VolumeState } from './volume-state.js';

export interface VersionsOwner {
  /** The wish was answered: the MDS may have another. */
  answered(): void;
  resized(): void;
}

/** How long a change waits for replicas to be in order. */
const PATIENCE_MS = 5000;
const RETRY_MS = 100;
const SETTLE_MS = 1000;

/** Snapshots, rollback, flattening and size of an open volume: what this process is asked for, and by the MDS. */
export class Versions {
  private readonly state: VolumeState;
  private readonly mds: ControlLink;
  private readonly membership: Membership;
  private readonly owner: VersionsOwner;
  private readonly flatten: Flatten;
  private readonly forgetting: Forgetting;
  /** The wish at hand, or the last one. */
  private askedId: string | null = null;
  private busy = false;
  private trimming: Promise<void> | null = null;

  constructor(
    state: VolumeState,
    mds: ControlLink,
    membership: Membership,
    parts: { flusher: Flusher; requests: RequestQueue },
    owner: VersionsOwner,
  ) {
    this.state = state;
    this.mds = mds;
    this.membership = membership;
    this.owner = owner;
    this.flatten = new Flatten(state, parts.flusher, parts.requests);
    this.forgetting = new Forgetting(state, membership);
  }

  /** Versions that OSTs are still merging. */
  get unmerged(): number {
    return mergeable(this.state.object).length;
  }

  private get hasTail(): boolean {
    return hasTail(this.state.object);
  }

  /**
   * @param askedId the wish that it answers
   * @throws RawstorError BUSY, EXISTS, NOT_FOUND, LIMIT, INVALID, UNAVAILABLE, FENCED
   */
  async change(change: VersionChange, askedId: string | null = null): Promise<ObjectInfo> {
    const { state } = this;
    if (state.fatal !== null) throw state.fatal;
    if (change.kind === 'flattened') await this.flatten.run();
    else if (state.flattening && makesHead(change)) {
      throw new RawstorError('BUSY', 'it is being flattened', {
        where: state.name,
        hint: 'wait until that is done: a snapshot would need the parent again',
      });
    }
    const before = state.object.sizeBytes;
    const untilMs = state.env.clock.nowMs() + PATIENCE_MS;
    for (;;) {
      try {
        await this.membership.changeVersions(change, askedId);
        break;
      } catch (error) {
        if (!(error instanceof NotYet) || state.env.clock.nowMs() > untilMs) throw error;
        await state.env.clock.sleep(RETRY_MS);
      }
    }
    if (state.object.sizeBytes !== before) this.owner.resized();
    if (this.hasTail) void this.trim();
    return state.object;
  }

  /** What the MDS has said with a renewal. */
  follow(asked: AskedChange | null): void {
    const { state } = this;
    if (state.fatal !== null || state.closing) return;
    void this.forgetting.look();
    if (this.hasTail) void this.trim();
    if (asked === null || asked.id === this.askedId || this.busy) return;
    this.askedId = asked.id;
    this.busy = true;
    this.change(asked.change, asked.id)
      .catch((error) => this.refuse(asked.id, asRawstorError(error)))
      .finally(() => {
        this.busy = false;
        this.owner.answered();
      });
  }

  /** Waits for OSTs to have nothing left of nameless versions, and has these forgotten. */
  settle(waitMs: number): Promise<void> {
    return this.forgetting.look(waitMs);
  }

  /** What nobody would do before the next open: not for long, the close matters more. */
  async beforeClose(): Promise<void> {
    const { clock } = this.state.env;
    if ((this.unmerged === 0 && !this.hasTail) || this.state.fatal !== null) return;
    const done = Promise.all([this.settle(SETTLE_MS), this.hasTail ? this.trim() : null]);
    await Promise.race([done, clock.sleep(2 * SETTLE_MS)]);
  }

  /** Has what was cut off erased; where that is not possible now, again later. */
  private trim(): Promise<void> {
    const { log } = this.state.env;
    this.trimming ??= this.membership
      .changeVersions({ kind: 'trimmed' }, null)
      .catch((error) =>
        log.debug({ reason: asRawstorError(error).message }, 'what was cut off stays for now'),
      )
      .finally(() => {
        this.trimming = null;
      });
    return this.trimming;
  }

  private async refuse(askedId: string, error: RawstorError): Promise<void> {
    const { state, mds } = this;
    // Closed, it gives the lease back, and who asked does it himself.
    if (state.fatal !== null || state.closing) return;
    const { id } = state.object;
    const { sessionEpoch } = state;
    const { code, message, where, hint } = error;
    const reason = [message, where, hint]
      .filter((part) => part !== undefined)
      .join('; ')
      .slice(0, 1024);
    const refusal = { id, sessionEpoch, askedId, code, reason };
    await mds.call('mds.refuseChange', refusal, 5000).catch((failure) => {
      state.env.log.debug({ reason: asRawstorError(failure).message }, 'a refusal was not told');
    });
  }
}
