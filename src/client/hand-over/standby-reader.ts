import type { BlockRequest } from '../../block/device.js';
import type { Clock } from '../../common/clock.js';
import { asRawstorError, RawstorError } from '../../common/errors.js';
import { LIMITS } from '../../common/limits.js';
import { placeChunkOf } from '../../common/placement.js';
import { ChunkOp } from '../../protocol/chunk-op.js';
import { errorOfStatus } from '../../protocol/control.js';
import { Opcode } from '../../protocol/frame.js';
import type { ObjectInfo } from '../../protocol/object-info.js';
import type { OstConnector, OstPeer } from '../../protocol/ost-peer.js';
import { type BootId, sameBootId } from '../../protocol/records.js';
import type { ControlLink } from '../control-link.js';
import { chunkOf, pieceLength } from '../slicing.js';

export interface StandbyEnvironment {
  readonly clock: Clock;
  readonly connector: OstConnector;
  readonly mds: Pick<ControlLink, 'call'>;
  /** An OST that answers nothing for so long is given up. */
  readonly silenceMs: number;
}

interface ReaderSession {
  /** Of the writer whose readers are served. */
  readonly epoch: number;
  readonly attached: Promise<Attached>;
  peer: OstPeer | null;
  ended: boolean;
}

interface Attached {
  readonly peer: OstPeer;
  readonly handle: number;
  readonly bootId: BootId;
}

const CALL_TIMEOUT_MS = 5000;
const RETRY_MS = 50;
const PATIENCE_MS = 15_000;

/**
 * Reads a volume that another process writes, without a lease: from a member in sync, and once more unless the MDS says
 * afterwards that the epoch is the same. While it is, nothing was acknowledged that this member lacks. A few reads of a
 * front-end that starts, so nothing here is fast.
 */
export class StandbyReader {
  /** As last heard. */
  object: ObjectInfo;
  private readonly env: StandbyEnvironment;
  private readonly sessions = new Map<string, ReaderSession>();
  private closed = false;

  constructor(env: StandbyEnvironment, object: ObjectInfo) {
    this.env = env;
    this.object = object;
  }

  /** Fills the slices of a READ. @throws RawstorError UNAVAILABLE, INVALID, NOT_FOUND, or what the OSTs refuse it with */
  async read(block: BlockRequest): Promise<void> {
    const { clock } = this.env;
    const untilMs = clock.nowMs() + PATIENCE_MS;
    for (;;) {
      let failure: RawstorError;
      let asked = false;
      try {
        const { epoch, clean, lease } = await this.look();
        // After a writer that has died replicas may differ, and nobody makes them alike before the next one. But the one whose
        // guest runs on may only be cut off from the MDS: nobody is to take it for a read before it had time to come back.
        if (lease === null && !clean)
          throw new RawstorError('UNAVAILABLE', 'its last writer did not close it');
        if (block.offset + block.length > this.object.sizeBytes) {
          throw new RawstorError('INVALID', 'a read behind the end', { where: this.object.name });
        }
        asked = true;
        for (let done = 0; done < block.length; ) done += await this.readPiece(block, done);
        if ((await this.look()).epoch === epoch) return;
        failure = new RawstorError('UNAVAILABLE', 'its replicas change all the time', {
          where: this.object.name,
        });
      } catch (error) {
        failure = asRawstorError(error, this.object.name);
        // What an OST calls invalid is of a moment: a snapshot, a growth that not everybody knows of yet.
        if (failure.code === 'NOT_FOUND' || (failure.code === 'INVALID' && !asked)) throw failure;
      }
      if (this.closed || clock.nowMs() > untilMs) throw failure;
      await clock.sleep(RETRY_MS);
    }
  }

  /** @throws RawstorError NOT_FOUND, UNAVAILABLE */
  async look(): Promise<ObjectInfo> {
    this.object = await this.env.mds.call('mds.getObj', { ref: this.object.id }, CALL_TIMEOUT_MS);
    return this.object;
  }

  close(): void {
    this.closed = true;
    for (const [ostId, session] of [...this.sessions]) this.drop(ostId, session);
  }

  /** @returns how much of the block it was */
  private async readPiece(block: BlockRequest, done: number): Promise<number> {
    const { object } = this;
    const at = block.offset + done;
    const length = pieceLength(at, block.length - done, object.chunkSizeBytes, LIMITS.framePayloadBytes);
    const chunk = chunkOf(at, object.chunkSizeBytes);
    const isInSync = (id: string) =>
      object.members.some((one) => one.ostId === id && one.state === 'in-sync');
    let refusal = new RawstorError('UNAVAILABLE', 'no replica in sync', { where: object.name });
    // Always in this order: where a crash has left replicas different, two reads of one block are of the same one.
    for (const ostId of placeChunkOf(object, chunk).filter(isInSync)) {
      try {
        await this.readFrom(ostId, block, { done, length, chunk, offset: at % object.chunkSizeBytes });
        return length;
      } catch (error) {
        refusal = asRawstorError(error, `OST ${ostId}`);
      }
    }
    throw refusal;
  }

  private async readFrom(
    ostId: string,
    block: BlockRequest,
    { done, length, chunk, offset }: { done: number; length: number; chunk: number; offset: number },
  ): Promise<void> {
    const session = this.session(ostId);
    const { peer, handle, bootId } = await session.attached;
    // Restarted without what it had not flushed, it lacks acknowledged writes until the writer has seen to it (I8).
    const recorded = this.object.members.find((one) => one.ostId === ostId)?.bootId ?? null;
    if (!this.object.clean && !sameBootId(recorded, bootId)) {
      throw new RawstorError('UNAVAILABLE', 'it may have lost writes', { where: `OST ${ostId}` });
    }
    const status = await new Promise<number>((resolve) => {
      // Destroyed, the peer answers what it has not answered yet.
      const silence = this.env.clock.after(this.env.silenceMs, () => peer.destroy());
      const op = new ChunkOp({
        chunkDone: () => {
          silence.cancel();
          resolve(op.status);
        },
      });
      Object.assign(op, { opcode: Opcode.READ, handle, sessionEpoch: session.epoch });
      Object.assign(op, { chunk, chunkVersion: this.object.headVersion, offset, length });
      op.slices.addRange(block.slices, done, length);
      peer.submit(op);
    });
    if (status === 0) return;
    // Another writer ends the readers of the one before.
    this.drop(ostId, session);
    throw errorOfStatus(status, `${this.object.name} on OST ${ostId}`);
  }

  private session(ostId: string): ReaderSession {
    const { sessionEpoch: epoch } = this.object;
    const known = this.sessions.get(ostId);
    if (known !== undefined && known.epoch === epoch) return known;
    if (known !== undefined) this.drop(ostId, known);
    let begin!: (attached: Promise<Attached>) => void;
    const attached = new Promise<Attached>((resolve) => {
      begin = resolve;
    });
    const session: ReaderSession = { epoch, attached, peer: null, ended: false };
    this.sessions.set(ostId, session);
    begin(this.attach(ostId, session));
    attached.catch(() => this.drop(ostId, session));
    return session;
  }

  private async attach(ostId: string, session: ReaderSession): Promise<Attached> {
    const { object, env } = this;
    const { osts } = await env.mds.call('mds.listOsts', {}, CALL_TIMEOUT_MS);
    const addresses = osts.find((ost) => ost.ostId === ostId)?.addresses ?? [];
    const peer = await env.connector.connect(ostId, addresses, CALL_TIMEOUT_MS);
    session.peer = peer;
    peer.onClosed = () => this.drop(ostId, session);
    // Closed meanwhile: a connection that nobody knows of would stay.
    if (this.closed || session.ended) {
      peer.destroy();
      throw new RawstorError('UNAVAILABLE', 'it is closed', { where: object.name });
    }
    const asked = { objectId: object.id, sessionEpoch: session.epoch };
    const { handle, bootId } = await peer.call('ost.attachReader', asked, CALL_TIMEOUT_MS);
    return { peer, handle, bootId };
  }

  private drop(ostId: string, session: ReaderSession): void {
    if (this.sessions.get(ostId) === session) this.sessions.delete(ostId);
    if (session.ended) return;
    session.ended = true;
    session.peer?.destroy();
  }
}
