import { asRawstorError, RawstorError } from '../common/errors.js';
import { LIMITS } from '../common/limits.js';
import type { PoolBuffer } from '../io/pool.js';
import {
  ChunkOp,
  differingVersions,
  errorOfStatus,
  lastingBelow,
  legaciesOf,
  type ObjectRecord,
  Opcode,
  OpScope,
  type OstConnector,
  type OstPeer,
  type Params,
  type Result,
} from '../protocol/index.js';
import { takeBuffer } from './checksums/quiet-access.js';
import { CopySources, ofSource, SOURCE_TIMEOUT_MS, SourceFailure } from './copy-sources.js';
import { CopyTurns } from './copy-turns.js';
import type { OstCore } from './core.js';
import { sharesParent } from './layers/index.js';
import type { Session } from './session.js';
import type { OstTuning } from './tuning.js';
import { regionVersions } from './version-calls.js';

const PROBE_BYTES = 512;

/**
 * Pulls ranges from other OSTs when a client orders it (I9). A copy carries the target's session: each piece is
 * written as an operation of it, so that none is applied once the session has ended.
 */
export class CopyEngine {
  private readonly core: OstCore;
  private readonly sources: CopySources;
  private readonly turns: CopyTurns;

  constructor(core: OstCore, connector: OstConnector, tuning: Pick<OstTuning, 'copies' | 'copyAnswerMs'>) {
    this.core = core;
    this.sources = new CopySources(connector);
    this.turns = new CopyTurns(core.env.clock, tuning.copies, tuning.copyAnswerMs);
  }

  /** A source that fails is told by the answer: it says nothing against this OST. @throws RawstorError of this OST */
  async copy(session: Session, asked: Params<'ost.copy'>): Promise<Result<'ost.copy'>> {
    if (session.readOnly) throw new RawstorError('READ_ONLY', 'a reading session cannot be copied to');
    if (!(await this.turns.begin(asked.waitedMs ?? null))) {
      return { copiedBytes: 0, zeroedBytes: 0, sourceStatus: 0, waits: true };
    }
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
      this.turns.end();
    }
  }

  close(): void {
    this.sources.close();
  }

  private async copyRange(session: Session, asked: Params<'ost.copy'>) {
    const source = await ofSource(this.sources.source(asked));
    const reader = this.sources.reader(source, session, asked);
    try {
      const handle = await ofSource(reader.handle);
      return await this.copyVersions(source.peer, handle, session, asked);
    } catch (error) {
      // Whatever it was, the next copy asks for a session of its own: that one may have ended.
      this.sources.forget(source, reader);
      throw error;
    } finally {
      this.sources.release(source, reader);
    }
  }

  /** Frozen versions first: what a head does not have of its own, it has from them. */
  private async copyVersions(peer: OstPeer, handle: number, session: Session, asked: Params<'ost.copy'>) {
    const { record } = session.object;
    const sum = { copiedBytes: 0, zeroedBytes: 0 };
    const add = async (version: Params<'ost.copy'>) => {
      const done = await this.copyFrom(peer, handle, session, version);
      sum.copiedBytes += done.copiedBytes;
      sum.zeroedBytes += done.zeroedBytes;
    };
    if (asked.since !== undefined && record.snapshots.length > 0) {
      for (const version of await this.frozen(peer, handle, session, asked)) {
        if (version !== asked.chunkVersion) await add({ ...asked, chunkVersion: version });
      }
    }
    await add(asked);
    return sum;
  }

  /** Versions of which the region differs, perhaps: oldest first. */
  private async frozen(peer: OstPeer, handle: number, session: Session, asked: Params<'ost.copy'>) {
    const { chunk, offset, since = 0 } = asked;
    const region = Math.floor(offset / LIMITS.regionSizeBytes);
    const theirs = await ofSource(
      peer.call('ost.regionVersions', { handle, chunk, region }, SOURCE_TIMEOUT_MS),
    );
    const ours = regionVersions(this.core, session, chunk, region);
    return differingVersions(session.object.record, [theirs.epochs, ours], since);
  }

  private async copyFrom(peer: OstPeer, handle: number, session: Session, asked: Params<'ost.copy'>) {
    // The source's region epoch first, also where it holds only a hole: it is raised here before any data.
    let tag = Math.max(1, asked.tag ?? 0);
    const end = asked.offset + asked.length;
    const regionBytes = LIMITS.regionSizeBytes;
    for (let at = asked.offset; at < end; at = (Math.floor(at / regionBytes) + 1) * regionBytes) {
      const length = Math.min(PROBE_BYTES, end - at);
      tag = Math.max(tag, await this.epochAt(peer, handle, session, asked, at, length));
    }
    let at = asked.offset;
    let copiedBytes = 0;
    let zeroedBytes = 0;
    while (at < end) {
      const { chunk, chunkVersion } = asked;
      // What the answer means is told by the record that it was asked by: a name may be taken away meanwhile.
      const { record } = session.object;
      const range = {
        handle,
        chunk,
        chunkVersion,
        offset: at,
        length: end - at,
        ...this.layerOf(record, chunkVersion),
      };
      const { runs } = await ofSource(peer.call('ost.extents', range, SOURCE_TIMEOUT_MS));
      const startedAt = at;
      for (let i = 0; i + 1 < runs.length && at < end; i += 2) {
        const length = Math.min(runs[i]!, end - at);
        if (runs[i + 1] === 2) {
          // By other versions the answer says something else: it is asked for again.
          if (!(await this.revert(session, record, asked, tag, at, length))) break;
          zeroedBytes += length;
        } else if (runs[i + 1] === 1) {
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
      if (at === startedAt && record === session.object.record) {
        const text = 'the source did not describe the range';
        throw new SourceFailure(new RawstorError('PROTOCOL', text, { where: peer.where }));
      }
    }
    return { copiedBytes, zeroedBytes };
  }

  /** The source's region epoch. */
  private async epochAt(
    peer: OstPeer,
    handle: number,
    session: Session,
    asked: Params<'ost.copy'>,
    offset: number,
    length: number,
  ): Promise<number> {
    try {
      return await this.transfer(peer, handle, session, asked, offset, length, null);
    } catch (error) {
      if (!(error instanceof SourceFailure) || error.failure.code !== 'CHECKSUM') throw error;
      // What is damaged may show there of a version below, and that is no matter of this one.
      const { chunk, chunkVersion } = asked;
      const region = Math.floor(offset / LIMITS.regionSizeBytes);
      const told = peer.call('ost.regionVersions', { handle, chunk, region }, SOURCE_TIMEOUT_MS);
      const { epochs } = await ofSource(told);
      for (let i = 0; i < epochs.length; i += 2) if (epochs[i] === chunkVersion) return epochs[i + 1]!;
      return 0;
    }
  }

  /** Makes what lies below show, from the oldest of what may still be merged into the version on; false when the versions are others by now. */
  private async revert(
    session: Session,
    record: ObjectRecord,
    asked: Params<'ost.copy'>,
    tag: number,
    offset: number,
    length: number,
  ): Promise<boolean> {
    const { key } = session.object;
    const { chunk, chunkVersion } = asked;
    const legacies = legaciesOf(record, chunkVersion).filter((one) =>
      this.core.records.hasChunk(key, chunk, one),
    );
    for (const version of [...legacies, chunkVersion]) {
      const at = { ...asked, chunkVersion: version };
      try {
        await this.local(session, at, Opcode.ERASE, tag, offset, length, null, record.snapshots);
      } catch (error) {
        if (record !== session.object.record && asRawstorError(error).code === 'BUSY') return false;
        throw error;
      }
    }
    return true;
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
    const buffer = await takeBuffer(this.core, length);
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
    revertFor: unknown = null,
  ): Promise<void> {
    const write = operation(asked, opcode, offset, length);
    write.scope = OpScope.COPY;
    write.leavesRoom = asked.since === 0;
    write.revert = revertFor !== null;
    write.revertFor = revertFor;
    write.handle = session.handle;
    write.sessionEpoch = session.epoch;
    write.sessionNumber = session.number;
    write.tag = tag;
    if (buffer !== null) write.slices.add(buffer.memory, buffer.offset, length);
    const done = await finished(write, () => this.core.submit(write, session.holder));
    if (done.status !== 0) throw errorOfStatus(done.status, `target OST ${this.core.ostId}`);
  }

  /**
   * Of layered versions their own blocks are copied; of a parent too where it is not here. What is merged into a version, at the source or here or at neither
   * yet, counts as its own.
   */
  private layerOf(record: ObjectRecord, version: number): { layer?: 'all' | 'own'; above?: number } {
    if (record.parent === null && record.snapshots.length === 0) return {};
    const whole = record.parent !== null && !sharesParent(record, this.core.ostId);
    return { layer: whole ? 'own' : 'all', above: lastingBelow(record, version) };
  }
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
