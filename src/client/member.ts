import type { Clock } from '../common/clock.js';
import { RawstorError } from '../common/errors.js';
import { ChunkOp } from '../protocol/chunk-op.js';
import { Opcode } from '../protocol/frame.js';
import { EVENT_DAMAGED } from '../protocol/integrity-messages.js';
import type { Result } from '../protocol/messages.js';
import type { OstConnector, OstPeer } from '../protocol/ost-peer.js';
import {
  type BootId,
  type ObjectRecord,
  type OstInfo,
  type StoredSet,
  sameBootId,
} from '../protocol/records.js';
import { Drain } from './drain.js';
import type { ReplicaOp } from './records.js';

/** What a member tells the volume. */
export interface MemberOwner {
  /** The session on this OST has ended; everything in flight has been answered before. */
  memberEnded(member: Member): void;
  /** The OST has answered a ping. */
  memberConfirmed(member: Member): void;
}

/**
 * One OST of a volume, as the writer sees it: its part in the in-sync set and the session on it. Decisions
 * about the set are taken elsewhere (membership.ts); here is the state they are taken on.
 */
export class Member {
  readonly ostId: string;
  addresses: readonly string[];
  labels: Readonly<Record<string, string>>;
  /** In force at the MDS; stays true until a drop is recorded there. */
  inSync: boolean;
  /** Boot id recorded at the MDS for an in-sync member. */
  recordedBootId: BootId | null;
  staleSince: number;
  /** Not in sync, but attached: gets every new write while its regions are copied (I9). */
  receiving = false;
  /** Its join flush is sent: counts for every ack like an in-sync member (I9). */
  counts = false;
  peer: OstPeer | null = null;
  handle = 0;
  bootId: BootId | null = null;
  /** What the OST had stored when it was attached. */
  storedSet: StoredSet | null = null;
  /** It is known to have durably kept a set of this epoch or a later one. */
  storedEpoch = 0;
  /** It came back without what it had kept: it was put back from an older copy, and any of its regions may differ. Until it has joined. */
  older = false;
  /** And what it has of the parent that it was taken to share is of before the clone was made. */
  lacksParent = false;
  sessionNumber = 0;
  /** Epoch of the object record that it was last told, and the head by that: what it can be asked for. */
  keptEpoch = 0;
  headVersion = 0;
  /** Its end was asked for here, and is told when the OST in this process has answered what it has in flight: it serves no reads any more. */
  private ending = false;
  /** The volume has ended, or was not opened after all: an attach that is on its way then must not leave a session. */
  private over = false;
  /** It was given up for silence, so that trying the same again at once is no use. */
  silent = false;
  /** When something sent then was answered: what I14 asks. */
  confirmedAtMs = Number.NEGATIVE_INFINITY;
  /** Something was answered since the watchdog looked. */
  answered = false;
  progressAtMs = 0;
  /** It has answered a write or a copy since its last flush began; one still on its way is in no flush. */
  dirty = false;
  /** Attached under another boot id than recorded: what was not flushed there is lost, so nothing is read from it. */
  emptied = false;
  /** Why it did not take a copy, since a resync of it began. */
  copyFailure: RawstorError | null = null;
  /** Bytes that were copied to it. */
  copiedBytes = 0;
  /** Its drop is asked for and not answered: it counts as before, but nothing is read from it (I14). */
  leaving = false;
  /**
   * A loss of its is on record and regions are still unreconciled: where another in sync holds a chunk too, that
   * one is read and copied from (I7).
   */
  behind = false;
  /** Losses recorded while it was the last to have the data (I8): what it answered before is to be sent again. */
  losses = 0;
  /** Operations whose answer was lost with the session; re-sent after an attach, or given up by a drop. */
  lost: ReplicaOp[] = [];
  /** Operations without an answer. */
  readonly sent = new Drain();
  /** The OST tells that it has damaged blocks of the object. */
  onDamaged: () => void = () => {
    this.damaged = true;
  };
  /** It has told so before anybody listened. */
  damaged = false;
  private readonly owner: MemberOwner;
  private readonly ping: ChunkOp;
  private pinging = false;

  constructor(ost: OstInfo, inSync: boolean, staleSince: number, bootId: BootId | null, owner: MemberOwner) {
    this.ostId = ost.ostId;
    this.addresses = ost.addresses;
    this.labels = ost.labels;
    this.inSync = inSync;
    this.staleSince = staleSince;
    this.recordedBootId = bootId;
    this.owner = owner;
    this.ping = new ChunkOp({ chunkDone: (op) => this.pingDone(op) });
    this.ping.opcode = Opcode.PING;
  }

  get attached(): boolean {
    return this.peer !== null;
  }

  /** Attached, with all that it had. */
  get whole(): boolean {
    return this.peer !== null && !this.emptied;
  }

  /** Holds all that was acknowledged, as far as is known. */
  get readable(): boolean {
    return this.inSync && this.whole && !this.leaving && !this.ending;
  }

  /** Its answer is needed before anything is acknowledged. */
  get required(): boolean {
    return this.inSync || this.counts;
  }

  /** Gets new writes. */
  get takesWrites(): boolean {
    return this.inSync || this.receiving;
  }

  /**
   * Connects and attaches under a new session number. @throws RawstorError FENCED when a newer writer has been
   * there, UNAVAILABLE, TIMEOUT
   */
  async attach(
    connector: OstConnector,
    clock: Clock,
    object: ObjectRecord,
    session: { epoch: number; number: number },
    timeoutMs: number,
  ): Promise<void> {
    const peer = await connector.connect(this.ostId, this.addresses, timeoutMs);
    if (this.over) throw this.tooLate(peer);
    let ended = false;
    peer.onClosed = () => {
      ended = true;
      this.ended(peer);
    };
    peer.onEvent = (name) => {
      if (name === EVENT_DAMAGED) this.onDamaged();
    };
    const askedAtMs = clock.nowMs();
    let answer: Result<'ost.attach'>;
    try {
      answer = await peer.call(
        'ost.attach',
        { object, sessionEpoch: session.epoch, sessionNumber: session.number },
        timeoutMs,
      );
    } catch (error) {
      peer.onClosed = null;
      peer.destroy();
      throw error;
    }
    if (this.over) throw this.tooLate(peer);
    if (ended)
      throw new RawstorError('CONNECTION_LOST', 'the OST ended the session at once', { where: peer.where });
    this.peer = peer;
    this.ending = false;
    this.handle = answer.handle;
    this.bootId = answer.bootId;
    this.storedSet = answer.set;
    this.lacksParent = answer.lacksParent === true;
    this.keptUpTo(answer.set?.epoch ?? 0);
    const lostMemory = this.recordedBootId !== null && !sameBootId(this.recordedBootId, answer.bootId);
    this.emptied = this.required && (lostMemory || this.older);
    this.sessionNumber = session.number;
    this.keeps(object);
    this.silent = false;
    this.confirmedAtMs = askedAtMs;
    this.progressAtMs = clock.nowMs();
    this.ping.handle = answer.handle;
    this.ping.sessionEpoch = session.epoch;
    this.ping.sessionNumber = session.number;
  }

  /** @param epoch of the set that it turns out to keep */
  private keptUpTo(epoch: number): void {
    if (epoch < this.storedEpoch) this.older = true;
    if (this.lacksParent) this.older = true;
    if (this.older && !this.inSync) this.staleSince = 0;
    this.storedEpoch = epoch;
  }

  /** What is on record of it, known before or after it was attached. */
  hadKept(epoch: number): void {
    if (!this.attached) this.storedEpoch = Math.max(this.storedEpoch, epoch);
    else if (this.storedEpoch < epoch) this.older = true;
  }

  /** It stays in the set with what it has. */
  trusted(): void {
    this.older = false;
    this.emptied = false;
  }

  /** It has left the set. @param sinceEpoch regions at least as new may differ */
  dropped(sinceEpoch: number): void {
    this.inSync = false;
    this.staleSince = this.older ? 0 : sinceEpoch;
  }

  /** It has been told this record. */
  keeps({ epoch, headVersion }: ObjectRecord): void {
    this.keptEpoch = Math.max(this.keptEpoch, epoch);
    this.headVersion = Math.max(this.headVersion, headVersion);
  }

  /** Ends the session from here; `memberEnded` follows. */
  end(silent: boolean): void {
    this.silent = silent;
    this.destroy();
  }

  /** As `end`, and it is attached no more. */
  endForGood(): void {
    this.over = true;
    this.end(false);
  }

  private tooLate(peer: OstPeer): RawstorError {
    peer.onClosed = null;
    peer.destroy();
    return new RawstorError('CONNECTION_LOST', 'the volume has ended meanwhile', { where: peer.where });
  }

  /** Asks for a sign of life; at most one is under way. */
  sendPing(): void {
    if (this.pinging || this.peer === null) return;
    this.pinging = true;
    this.peer.submit(this.ping);
  }

  get waitsForAnswer(): boolean {
    return this.pinging || this.sent.size > 0;
  }

  /** When the oldest operation that it has not answered was given to it, Infinity without any. */
  oldestSentAtMs(): number {
    return this.peer?.oldestSentAtMs() ?? Number.POSITIVE_INFINITY;
  }

  confirm(sentAtMs: number): void {
    this.answered = true;
    if (sentAtMs > this.confirmedAtMs) this.confirmedAtMs = sentAtMs;
  }

  private ended(peer: OstPeer): void {
    if (this.peer !== peer) return;
    this.peer = null;
    this.owner.memberEnded(this);
  }

  private pingDone(op: ChunkOp): void {
    this.pinging = false;
    if (op.status === 0) {
      this.confirm(op.sentAtMs);
      this.owner.memberConfirmed(this);
    } else {
      // Our session is no longer the one served there: whatever the reason, it has to be attached anew.
      this.destroy();
    }
  }

  private destroy(): void {
    // Over a connection the end is told at once.
    this.ending = this.peer?.local === true;
    this.peer?.destroy();
  }
}

/** One that the MDS does not know any more, or not yet. */
export function unknownOst(ostId: string): OstInfo {
  return {
    ostId,
    addresses: [],
    labels: {},
    capacityBytes: 0,
    freeBytes: 0,
    bootId: { kernel: '', generation: 0 },
  };
}
