import {
  type BlockDevice,
  BlockOp,
  type BlockRequest,
  type Extent,
  type LayerRun,
  type Mark,
  USUAL_LIMITS,
} from '../block/device.js';
import { asRawstorError, RawstorError } from '../common/errors.js';
import type { ObjectInfo } from '../protocol/object-info.js';
import type { VersionChange } from '../protocol/version-messages.js';
import type { ControlLink } from './control-link.js';
import { readExtents } from './extents.js';
import { Flusher } from './flusher.js';
import { giveBackSession } from './give-back.js';
import { IoPath } from './io-path.js';
import { type Contents, contentsOf } from './keys/index.js';
import { marksOf, readLayers } from './layers.js';
import type { Member, MemberOwner } from './member.js';
import { Membership } from './membership.js';
import { abandoned } from './not-whole.js';
import { Notices } from './notices.js';
import { OnDegraded } from './on-degraded.js';
import { PieceFailures } from './piece-failures.js';
import type { Piece } from './records.js';
import { Move, type MoveNews } from './recovery/move.js';
import { Reconcile } from './recovery/reconcile.js';
import { Repair } from './recovery/repair.js';
import { Resync } from './recovery/resync.js';
import { recoveryProgress, type VolumeStatus, volumeStatus } from './recovery/status.js';
import { refusal } from './request-kind.js';
import { RequestQueue } from './request-queue.js';
import { Sealer } from './sealer.js';
import { Versions } from './versions.js';
import type { VolumeState } from './volume-state.js';
import { VolumeTimers } from './volume-timers.js';

/**
 * An open mutable object as a block device: cuts requests into pieces, keeps overlapping ones apart, and hands
 * the rest to its parts. See docs/consistency for the rules.
 */
export class Volume implements BlockDevice, MemberOwner {
  readonly readOnly: boolean;
  readonly multiConnection = true;
  readonly limits = USUAL_LIMITS;
  /** Called once when the volume can serve no more: fenced, or its set of replicas is beyond repair. */
  onFatal: ((error: RawstorError) => void) | null = null;
  /** Called after each change of its size: clients of a facade may have to look again. */
  onResized: ((sizeBytes: number) => void) | null = null;
  /** Called at each renewal: whether another process waits for this one to close the volume. */
  onHandOver: ((asked: boolean) => void) | null = null;
  /** Once it is closed: sealed, and on record at the MDS as such. */
  closedClean = false;
  private readonly state: VolumeState;
  private readonly mds: ControlLink;
  private readonly path: IoPath;
  private readonly flusher: Flusher;
  private readonly membership: Membership;
  private readonly resync: Resync;
  private readonly move: Move;
  private readonly reconcile: Reconcile;
  private readonly repair: Repair;
  private readonly timers: VolumeTimers;
  private readonly notices: Notices;
  private readonly requests: RequestQueue;
  private readonly contents: Contents;
  private readonly versions: Versions;

  constructor(state: VolumeState, mds: ControlLink, options: { readOnly: boolean; leaseMs: number }) {
    this.state = state;
    this.mds = mds;
    this.readOnly = options.readOnly;
    const failures = new PieceFailures(state, {
      wake: () => this.membership.wake(),
      differ: () => this.reconcile.wake(),
      done: (piece, error) => this.pieceDone(piece, error),
    });
    this.path = new IoPath(state, {
      pieceDone: (piece, error) => this.pieceDone(piece, error),
      membersFailed: (piece, failed, error) => failures.some(piece, failed, error),
      allFailed: (piece, error) => failures.all(piece, error),
      resyncFailed: (member, error) => failures.resyncing(member, error),
      tooEarly: (piece) => this.tooEarly(piece),
      reviewed: () => this.requests.retryStarved(),
    });
    this.requests = new RequestQueue(state, this.path, (request) => this.reconcile.park(request));
    this.flusher = new Flusher(state, this.path, (block, error) => block.owner.blockDone(block, error));
    this.membership = new Membership(state, mds, this.path, this.flusher, this.requests, {
      fail: (error) => this.fail(error),
      memberLeft: (member) => this.resync.start(member),
      regionsDiffer: () => this.reconcile.wake(),
    });
    this.reconcile = new Reconcile(state, (request) => this.requests.begin(request));
    this.resync = new Resync(state, {
      join: (member) => this.join(member),
      reconciled: () => this.reconcile.done(),
      fenced: (error) => this.fail(error),
    });
    this.move = new Move(state, mds, {
      memberEnded: (member) => this.memberEnded(member),
      memberConfirmed: (member) => this.memberConfirmed(member),
      resync: (member) => this.resync.start(this.repair.listen(member)),
      giveUp: (member) => this.path.giveUp(member),
    });
    this.repair = new Repair(state, this.requests.writes);
    const { flusher, requests } = this;
    const told = { answered: () => this.timers.renew(), resized: () => this.onResized?.(this.sizeBytes) };
    this.versions = new Versions(state, mds, this.membership, { flusher, requests }, told);
    const below = { submit: this.serve.bind(this), finishLater: requests.finishLater.bind(requests) };
    this.contents = contentsOf(state.object, state.env.cipher, below);
    const sealer = new Sealer(state, this.requests.writes, () => this.membership.seal());
    this.flusher.onFlushed = () => sealer.look(true);
    this.flusher.onLossTold = () => this.timers.renew();
    const degraded = new OnDegraded(state, this.path, this.requests, this.reconcile);
    this.timers = new VolumeTimers(state, mds, options, {
      look: () => degraded.look(),
      fail: (error) => this.fail(error),
      renewed: (news) => {
        this.move.follow(news);
        this.versions.follow(news.asked);
        this.onHandOver?.(news.handOver);
      },
      recovery: () => recoveryProgress(this.status()),
      lookForSeal: () => sealer.look(),
    });
    this.notices = new Notices(state, mds, { look: () => this.look(), fail: (error) => this.fail(error) });
  }

  get object(): ObjectInfo {
    return this.state.object;
  }

  get isIdle(): boolean {
    return this.requests.isIdle && this.flusher.idle;
  }

  get sizeBytes(): number {
    return this.state.object.sizeBytes;
  }

  /** Begins the background work of a volume just opened. */
  start(news: MoveNews): void {
    this.timers.start();
    this.membership.wake();
    this.reconcile.wake();
    this.repair.start();
    if (this.readOnly) return;
    for (const member of this.state.members) if (!member.inSync) this.resync.start(member);
    this.move.follow(news);
  }

  status(): VolumeStatus {
    return volumeStatus(this.state, this.resync, this.repair);
  }

  /**
   * Takes a snapshot, rolls back, flattens, changes the size, removes, renames, protects: docs/snapshots.md.
   * @throws RawstorError BUSY, EXISTS, NOT_FOUND, LIMIT, INVALID, UNAVAILABLE, FENCED
   */
  change(change: VersionChange): Promise<ObjectInfo> {
    return this.versions.change(change);
  }

  /** Waits a while for replicas to be done with what removed snapshots left. */
  readonly settleVersions = (waitMs: number): Promise<void> => this.versions.settle(waitMs);

  submit(block: BlockRequest): void {
    this.contents.submit(block);
  }

  /** As `submit`, of bytes as replicas have them. */
  serve(block: BlockRequest): void {
    if (this.state.fatal !== null || this.state.closing) return this.requests.finishLater(block, this.gone());
    if (block.op === BlockOp.FLUSH) return this.flusher.add(block);
    if (block.op === BlockOp.CACHE) return this.requests.finishLater(block, null);
    const refused = refusal(block, this.readOnly, this.state.name);
    if (refused !== null) return this.requests.finishLater(block, refused);
    this.requests.add(block);
  }

  /** As a FLUSH that nobody asked for: a loss is still told to the next that is (I8). @throws RawstorError */
  readonly flush = () => this.flusher.flush();

  extents(offset: number, length: number): Promise<Extent[]> {
    return readExtents(this.state, offset, length);
  }

  marks(): Mark[] {
    return marksOf(this.state.object, 'head');
  }

  layers(since: Mark | null, offset: number, length: number): Promise<LayerRun[]> {
    return readLayers(this.state, since, offset, length);
  }

  /** Answers what is in flight, flushes, seals where possible, gives the lease back. `awaited`: the next one tidies up. */
  async close(awaited = false): Promise<void> {
    const { state } = this;
    if (state.closing) return;
    if (!this.readOnly && !awaited) await this.versions.beforeClose();
    // What waits for memory to be enciphered in comes only when these have given theirs back.
    this.requests.refusesStarved = true;
    this.requests.failStarved();
    await this.contents.settled();
    if (state.closing) return;
    state.closing = true;
    this.stopTimers('wane');
    let clean = false;
    if (state.fatal === null && !this.readOnly) {
      try {
        await Promise.all([this.requests.drainAll(), this.repair.settled()]);
        await this.flusher.flush();
        if (state.unreconciled.size === 0) {
          // One on its way may wait for the MDS: it is not on record before it is answered.
          if (state.unsealed.pending) await this.membership.seal();
          clean = true;
        }
      } catch (error) {
        state.env.log.warn({ volume: state.name, reason: asRawstorError(error).message }, 'unclean close');
      }
    }
    state.fatal ??= this.gone();
    this.timers.stop();
    if (!this.readOnly) this.closedClean = await giveBackSession(this.mds, state, clean);
    for (const member of state.members) member.endForGood();
    this.path.failAll(state.fatal);
    this.membership.wake();
  }

  /** As if this process had died, for those who cannot wait until replicas are back: nothing that waits is acknowledged. */
  abandon(): void {
    this.fail(abandoned(this.state.name));
  }

  private async join(member: Member): Promise<boolean> {
    if (!(await this.membership.join(member))) return false;
    this.move.stored();
    return true;
  }

  memberEnded(member: Member): void {
    const { state } = this;
    const ends = state.fatal !== null || state.closing;
    if (state.fatal === null && (member.required || state.closing)) this.membership.wake();
    if (!member.required) member.receiving = false;
    // Nobody attaches it again, or not for what waits for it.
    if (state.fatal !== null || !member.required) this.path.giveUp(member);
    if (ends) return;
    const present = state.member(member.ostId) === member;
    if (!member.required && present && !this.readOnly) this.resync.start(member);
    this.path.review();
  }

  memberConfirmed(_member: Member): void {
    if (this.path.waits) this.path.review();
  }

  private pieceDone(piece: Piece, error: RawstorError | null): void {
    const { request } = piece;
    if (request === null) return this.flusher.pieceDone(piece, error);
    this.path.recycle(piece);
    this.requests.pieceDone(request, error);
  }

  private tooEarly(piece: Piece): void {
    const request = piece.request!;
    this.path.recycle(piece);
    this.requests.pieceTooEarly(request);
  }

  private fail(error: RawstorError): void {
    if (this.state.fatal !== null) return;
    this.state.failed(error);
    this.stopTimers();
    for (const member of this.state.members) member.endForGood();
    this.path.failAll(error);
    this.requests.failWaiting(this.reconcile.takeParked(), error);
    this.requests.failStarved(error);
    this.requests.letGo();
    this.onFatal?.(error);
  }

  /** The MDS says that something may have changed, or could not say so for a while. */
  private look(): void {
    if (this.readOnly) return;
    this.timers.renew();
    this.resync.hurry();
  }

  private stopTimers(how: 'wane' | 'stop' = 'stop'): void {
    this.timers[how]();
    this.notices.stop();
    this.repair.stop();
  }

  private gone(): RawstorError {
    return this.state.fatal ?? new RawstorError('UNAVAILABLE', `volume ${this.state.name} is closed`);
  }
}
