import { asRawstorError, RawstorError } from '../common/errors.js';
import { LIMITS } from '../common/limits.js';
import type { PoolBuffer } from '../io/pool.js';
import {
  type BootId,
  ChunkOp,
  errorOfStatus,
  Opcode,
  type OstConnector,
  type OstPeer,
  type Params,
  type Result,
  sameBootId,
} from '../protocol/index.js';
import type { OstCore } from './core.js';
import type { Session } from './session.js';

const CONNECT_TIMEOUT_MS = 3000;
const PROBE_BYTES = 512;
/** A source that answers nothing for so long is given up, and with it all that is copied from it. */
const SOURCE_TIMEOUT_MS = 10_000;

/** Objects of one source with a session kept; half of what a connection may have. */
const READERS_MAX = LIMITS.objectsPerConnection / 2;

/** Another OST, and the reading sessions there: one an object, of the latest epoch. */
interface Source {
  readonly peer: OstPeer;
  readonly readers: Map<string, { epoch: number; bootId: BootId; handle: Promise<number> }>;
}

/**
 * Pulls ranges from other OSTs when a client orders it (I9). A copy carries the target's session: each piece is
 * written as an operation of it, so that none is applied once the session has ended.
 */
export class CopyEngine {
  private readonly core: OstCore;
  private readonly connector: OstConnector;
  private readonly limit: number;
  private readonly sources = new Map<string, Promise<Source>>();
  private running = 0;
  private waiting: (() => void)[] = [];

  constructor(core: OstCore, connector: OstConnector, limit: number) {
    this.core = core;
    this.connector = connector;
    this.limit = limit;
  }

  /** A source that fails is told by the answer: it says nothing against this OST. @throws RawstorError of this OST */
  async copy(session: Session, asked: Params<'ost.copy'>): Promise<Result<'ost.copy'>> {
    if (session.readOnly) throw new RawstorError('READ_ONLY', 'a reading session cannot be copied to');
    while (this.running >= this.limit) await new Promise<void>((resolve) => this.waiting.push(resolve));
    this.running++;
    try {
      if (session.ended !== 0) throw errorOfStatus(session.ended, `target OST ${this.core.ostId}`);
      const done = await this.copyRange(session, asked);
      const { chunk, offset, remember } = asked;
      const region = Math.floor(offset / LIMITS.regionSizeBytes);
      if (remember === true && session.ended === 0) session.object.copied.add(chunk, region, session.epoch);
      return { ...done, sourceStatus: 0 };
    } catch (error) {
      if (!(error instanceof SourceFailure)) throw error;
      const { wire, message } = error.failure;
      this.core.env.log.warn({ source: asked.sourceOstId, reason: message }, 'a source of a copy failed');
      return { copiedBytes: 0, zeroedBytes: 0, sourceStatus: wire };
    } finally {
      this.running--;
      this.waiting.shift()?.();
    }
  }

  close(): void {
    for (const source of this.sources.values()) source.then(({ peer }) => peer.destroy()).catch(() => {});
  }

  private async copyRange(session: Session, asked: Params<'ost.copy'>) {
    const source = await ofSource(this.source(asked));
    const handle = await ofSource(this.reader(source, session, asked));
    try {
      return await this.copyFrom(source.peer, handle, session, asked);
    } catch (error) {
      // Whatever it was, the next copy asks for a session of its own: that one may have ended.
      source.readers.delete(session.object.record.id);
      throw error;
    }
  }

  private async copyFrom(peer: OstPeer, handle: number, session: Session, asked: Params<'ost.copy'>) {
    // The source's region epoch first, also where it holds only a hole: it is raised here before any data.
    let tag = Math.max(1, asked.tag ?? 0);
    const end = asked.offset + asked.length;
    const regionBytes = LIMITS.regionSizeBytes;
    for (let at = asked.offset; at < end; at = (Math.floor(at / regionBytes) + 1) * regionBytes) {
      const length = Math.min(PROBE_BYTES, end - at);
      tag = Math.max(tag, await this.transfer(peer, handle, session, asked, at, length, null));
    }
    let at = asked.offset;
    let copiedBytes = 0;
    let zeroedBytes = 0;
    while (at < end) {
      const { chunk, chunkVersion } = asked;
      const range = { handle, chunk, chunkVersion, offset: at, length: end - at };
      const { runs } = await ofSource(peer.call('ost.extents', range, SOURCE_TIMEOUT_MS));
      const startedAt = at;
      for (let i = 0; i + 1 < runs.length && at < end; i += 2) {
        const length = Math.min(runs[i]!, end - at);
        if (runs[i + 1] === 1) {
          await this.local(session, asked, Opcode.ERASE, tag, at, length, null);
          zeroedBytes += length;
        } else {
          for (let done = 0; done < length; done += LIMITS.framePayloadBytes) {
            const piece = Math.min(LIMITS.framePayloadBytes, length - done);
            await this.transfer(peer, handle, session, asked, at + done, piece, tag);
          }
          copiedBytes += length;
        }
        at += length;
      }
      if (at === startedAt) {
        const text = 'the source did not describe the range';
        throw new SourceFailure(new RawstorError('PROTOCOL', text, { where: peer.where }));
      }
    }
    return { copiedBytes, zeroedBytes };
  }

  /** Reads a piece and, unless `tag` is null, writes it here; answers the source's region epoch there. */
  private async transfer(
    peer: OstPeer,
    handle: number,
    session: Session,
    asked: Params<'ost.copy'>,
    offset: number,
    length: number,
    tag: number | null,
  ): Promise<number> {
    const buffer = await this.buffer(length);
    try {
      const read = operation(asked, Opcode.READ, offset, length);
      read.handle = handle;
      read.sessionEpoch = session.epoch;
      read.slices.add(buffer.memory, buffer.offset, length);
      const silence = this.core.env.clock.after(SOURCE_TIMEOUT_MS, () => peer.destroy());
      const done = await finished(read, () => peer.submit(read)).finally(() => silence.cancel());
      if (done.status !== 0) throw new SourceFailure(errorOfStatus(done.status, asked.sourceOstId));
      if (tag !== null) {
        await this.local(session, asked, Opcode.WRITE, Math.max(tag, done.tag), offset, length, buffer);
      }
      return done.tag;
    } finally {
      buffer.release();
    }
  }

  private async local(
    session: Session,
    asked: Params<'ost.copy'>,
    opcode: number,
    tag: number,
    offset: number,
    length: number,
    buffer: PoolBuffer | null,
  ): Promise<void> {
    const write = operation(asked, opcode, offset, length);
    write.handle = session.handle;
    write.sessionEpoch = session.epoch;
    write.sessionNumber = session.number;
    write.tag = tag;
    if (buffer !== null) write.slices.add(buffer.memory, buffer.offset, length);
    const done = await finished(write, () => this.core.submit(write, session.holder));
    if (done.status !== 0) throw errorOfStatus(done.status, `target OST ${this.core.ostId}`);
  }

  private async buffer(sizeBytes: number): Promise<PoolBuffer> {
    const { pool } = this.core.env.io;
    for (;;) {
      const buffer = pool.acquire(sizeBytes);
      if (buffer !== null) return buffer;
      await new Promise<void>((resolve) => pool.whenFree(resolve));
    }
  }

  private source(asked: Params<'ost.copy'>): Promise<Source> {
    const { sourceOstId } = asked;
    let source = this.sources.get(sourceOstId);
    if (source === undefined) {
      source = this.connect(asked);
      this.sources.set(sourceOstId, source);
      source.catch(() => this.sources.delete(sourceOstId));
    }
    return source;
  }

  private async connect({ sourceOstId, sourceAddresses }: Params<'ost.copy'>): Promise<Source> {
    const peer = await this.connector.connect(sourceOstId, sourceAddresses, CONNECT_TIMEOUT_MS);
    peer.onClosed = () => this.sources.delete(sourceOstId);
    return { peer, readers: new Map() };
  }

  private reader(
    { peer, readers }: Source,
    session: Session,
    { sourceBootId: bootId, sourceOstId }: Params<'ost.copy'>,
  ): Promise<number> {
    const { id } = session.object.record;
    const known = readers.get(id);
    if (known !== undefined && known.epoch >= session.epoch && sameBootId(known.bootId, bootId)) {
      // Again the latest in the map's order.
      readers.delete(id);
      readers.set(id, known);
      return known.handle;
    }
    const asked = { objectId: id, sessionEpoch: session.epoch };
    const handle = peer.call('ost.attachReader', asked, SOURCE_TIMEOUT_MS).then((answer) => {
      if (sameBootId(answer.bootId, bootId)) return answer.handle;
      // It lost what was not flushed since the writer attached it, and the writer does not know yet.
      throw new RawstorError('STALE_SESSION', 'the source has another boot id', { where: sourceOstId });
    });
    const reader = { epoch: session.epoch, bootId, handle };
    readers.set(id, reader);
    handle.catch(() => {
      if (readers.get(id) === reader) readers.delete(id);
    });
    for (const [oldest, { handle: unused }] of readers) {
      if (readers.size <= READERS_MAX) break;
      readers.delete(oldest);
      unused.then((ended) => peer.call('ost.detach', { handle: ended })).catch(() => {});
    }
    return handle;
  }
}

/** What the other OST failed to do. */
class SourceFailure extends Error {
  readonly failure: RawstorError;

  constructor(failure: RawstorError) {
    super(failure.message);
    this.failure = failure;
  }
}

function ofSource<T>(asked: Promise<T>): Promise<T> {
  return asked.catch((error) => {
    throw new SourceFailure(asRawstorError(error));
  });
}

function operation(asked: Params<'ost.copy'>, opcode: number, offset: number, length: number): ChunkOp {
  const op = new ChunkOp({ chunkDone: () => {} });
  op.opcode = opcode;
  op.chunk = asked.chunk;
  op.chunkVersion = asked.chunkVersion;
  op.offset = offset;
  op.length = length;
  return op;
}

function finished(op: ChunkOp, submit: () => void): Promise<ChunkOp> {
  return new Promise((resolve) => {
    op.owner = { chunkDone: resolve };
    submit();
  });
}
