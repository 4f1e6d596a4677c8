import { asRawstorError, ERROR_CODES, wireOfErrno } from '../common/errors.js';
import { isMediumError } from '../io/index.js';
import { SliceList } from '../io/memory.js';
import { FileOp, type FileOpOwner, type IoFile } from '../io/types.js';
import { type ChunkOp, Mark, Opcode, OpScope } from '../protocol/index.js';
import type { RecheckOwner } from './checksums/recheck.js';
import type { ChunkFile, ChunkWaiter } from './chunk-file.js';
import type { OstCore } from './core.js';
import type { HeldWrite } from './dirty.js';
import type { IntentWaiter } from './intents.js';
import { isLayered, LayeredChange, MixedRead, NOBODY, SEVERAL } from './layers/index.js';
import { lost, statusOfFailure, unreadable, unverified } from './operation-status.js';
import type { Session } from './session.js';
import type { SyncWaiter } from './sync-point.js';

/**
 * One data operation on its way through the OST; preallocated. A write goes: chunk open, intent durable (I2),
 * file there, space there, written, and for FUA durable; each step is entered again through `advance`.
 */
export class Operation
  implements ChunkWaiter, IntentWaiter, FileOpOwner, SyncWaiter, HeldWrite, RecheckOwner
{
  private readonly core: OstCore;
  private readonly fileOp: FileOp;
  private op: ChunkOp | null = null;
  private session: Session | null = null;
  private chunk: ChunkFile | null = null;
  /** Of a read: the version that has the blocks, where that is not the one asked for. */
  private source: ChunkFile | null = null;
  /** It writes a damaged block as a whole: that is taken off the record, once what it wrote is durable. */
  private healing = false;
  private pendingSyncs = 0;
  private status = 0;

  constructor(core: OstCore) {
    this.core = core;
    this.fileOp = new FileOp(this, new SliceList());
  }

  get intentChunk(): ChunkFile {
    return this.chunk!;
  }
  get intentOffset(): number {
    return this.op!.offset;
  }
  get intentLength(): number {
    return this.op!.length;
  }
  get intentTag(): number {
    return this.op!.tag;
  }

  start(op: ChunkOp, session: Session): void {
    this.op = op;
    this.session = session;
    this.status = 0;
    this.healing = false;
    session.inFlight++;
    if (op.opcode === Opcode.FLUSH) return this.flush();
    this.chunk = this.core.chunks.chunk(session.object, op.chunk, op.chunkVersion);
    this.chunk.holders++;
    this.chunk.used = true;
    this.advance();
  }

  chunkReady(status: number): void {
    if (status === 0) this.advance();
    else this.finish(status);
  }

  intentDone(status: number): void {
    this.chunkReady(status);
  }

  fileDone(_fileOp: FileOp, result: number): void {
    const op = this.op!;
    const chunk = this.chunk!;
    op.span?.mark(Mark.FILE_DONE);
    if (op.opcode === Opcode.READ) {
      if (result < 0 && !isMediumError(result)) return this.finish(wireOfErrno(result));
      if (result >= 0 && result < op.length) op.slices.zeroFill(result, op.length - result);
      return this.finishRead(result >= 0);
    }
    if (op.opcode === Opcode.WRITE) this.core.space.settled(op.length);
    // Even a failed write may have left something behind.
    chunk.sync.dirty = true;
    this.core.checksums?.endChange(chunk, op.offset, op.length);
    // Opened while this was on its way, it may have looked before there was anything.
    if (chunk.above.size > 0) this.core.layers.maps.forget(chunk, op.offset, op.length);
    if (result < 0) return this.finish(wireOfErrno(result));
    if (op.opcode === Opcode.WRITE) this.core.dirty.wrote(chunk, op.offset, op.length);
    this.healing = this.core.damage.isHealedBy(chunk, op.offset, op.length);
    if (op.fua || this.healing) return this.makeDurable();
    if (this.core.dirty.overLimit) this.core.dirty.hold(this);
    else this.finish(0);
  }

  dirtyReleased(): void {
    this.finish(0);
  }

  syncDone(errno: number): void {
    if (errno < 0) this.status = ERROR_CODES.IO.wire;
    if (--this.pendingSyncs > 0) return;
    if (!this.healing) return this.finish(this.status);
    if (this.status === 0) return this.heal();
    // Durability was not asked for: it is lost like any other write, which the end of the session tells.
    const { ended } = this.session!;
    this.finish(this.op!.fua || ended === 0 ? this.status : ended);
  }

  private heal(): void {
    const { offset, length } = this.op!;
    const failed = (error: unknown) => this.finish(asRawstorError(error).wire);
    this.core.damage.heal(this.chunk!, offset, length).then(() => this.finish(0), failed);
  }

  private advance(): void {
    try {
      this.step();
    } catch (error) {
      this.core.later(this, statusOfFailure(this.core.env.log, this.chunk!, error));
    }
  }

  private step(): void {
    const op = this.op!;
    const chunk = this.chunk!;
    const { ended } = this.session!;
    if (ended !== 0) return this.core.later(this, ended);
    if (!chunk.ready) {
      chunk.waiting.push(this);
      return;
    }
    if (op.opcode === Opcode.READ) return this.read(op, chunk);
    if (chunk.lock !== null && op.scope !== OpScope.NESTED && chunk.lock.stops(op.offset, op.length, this))
      return;
    // Asked again after whatever it has waited for: while its intent was on its way, or its file made, checksums may have
    // been taken of what was there before.
    if (!this.core.regions.covers(chunk, op.offset, op.length, op.tag)) return this.core.intents.add(this);
    const isWrite = op.opcode === Opcode.WRITE;
    const layered = isLayered(chunk);
    if (chunk.file === null && (isWrite || !layered)) {
      if (!isWrite) {
        // What does not exist reads as zeros already.
        this.healing = this.core.damage.isHealedBy(chunk, op.offset, op.length);
        return op.fua || this.healing ? this.makeDurable() : this.core.later(this, 0);
      }
      chunk.waiting.push(this);
      return this.core.chunks.create(chunk);
    }
    if (op.revert && op.revertFor !== chunk.object.record.snapshots) {
      return this.core.later(this, ERROR_CODES.BUSY.wire);
    }
    if (layered || chunk.above.size > 0) {
      return new LayeredChange(this.core, op, chunk, this.session!, (status) => this.changed(status)).start();
    }
    this.fileOp.fileOffset = op.offset;
    this.fileOp.slices.clear();
    if (isWrite && !this.core.space.allows(chunk, op.offset, op.length, op.leavesRoom)) {
      return this.core.later(this, ERROR_CODES.NO_SPACE.wire);
    }
    this.core.checksums?.beginChange(chunk, op.offset, op.length);
    op.span?.mark(Mark.FILE_ASKED);
    if (isWrite) {
      this.fileOp.slices.addRange(op.slices, 0, op.length);
      chunk.file!.write(this.fileOp);
    } else {
      this.fileOp.lengthBytes = op.length;
      chunk.file!.punch(this.fileOp);
    }
  }

  private changed(status: number): void {
    const { scope, fua, offset, length } = this.op!;
    this.healing = status === 0 && this.core.damage.isHealedBy(this.chunk!, offset, length);
    if (status !== 0) this.finish(status);
    else if (fua || this.healing) this.makeDurable();
    else if (this.core.dirty.overLimit && scope !== OpScope.NESTED) this.core.dirty.hold(this);
    else this.finish(0);
  }

  private read(op: ChunkOp, chunk: ChunkFile): void {
    if (isLayered(chunk)) return this.readLayers(op, chunk);
    if (chunk.file === null) {
      op.slices.zeroFill(0, op.length);
      op.tag = this.core.regions.highest(chunk, op.offset, op.length);
      // Checksums of something else than zeros: the file is lost.
      const { checksums } = this.core;
      if (checksums === null) return this.core.later(this, unverified(this.core.damage, chunk, op));
      if (checksums.check(chunk, op)) return this.core.later(this, 0);
      return checksums.recheck(chunk, op, this);
    }
    this.readFile(op, chunk, chunk.file);
  }

  private readFile(op: ChunkOp, chunk: ChunkFile, file: IoFile): void {
    const status = unreadable(this.core.damage, chunk, op);
    if (status !== 0) return this.core.later(this, status);
    this.fileOp.fileOffset = op.offset;
    this.fileOp.slices.clear();
    this.fileOp.slices.addRange(op.slices, 0, op.length);
    op.span?.mark(Mark.FILE_ASKED);
    file.read(this.fileOp);
  }

  private readLayers(op: ChunkOp, chunk: ChunkFile): void {
    const { maps } = this.core.layers;
    const owner = maps.soleOwner(chunk, op.offset, op.length);
    // What this version is known to have lost is not what lies below.
    const status = lost(this.core.damage, chunk, op);
    if (status !== 0) return this.core.later(this, status);
    if (owner === NOBODY || owner === SEVERAL) {
      op.tag = this.core.regions.highest(chunk, op.offset, op.length);
      if (owner === SEVERAL) {
        return new MixedRead(this.core, this).start(op, chunk);
      }
      op.slices.zeroFill(0, op.length);
      return this.core.later(this, 0);
    }
    const source = maps.file(chunk, owner);
    this.source = source;
    source.holders++;
    this.readFile(op, source, source.file!);
  }

  private finishRead(readable: boolean): void {
    const op = this.op!;
    op.tag = this.core.regions.highest(this.chunk!, op.offset, op.length);
    const chunk = this.source ?? this.chunk!;
    const { checksums, damage, rereads } = this.core;
    const right = checksums?.check(chunk, op) ?? damage.firstIn(chunk, op.offset, op.length) < 0;
    if (!readable || (!right && checksums === null)) rereads.all(chunk, op, this);
    else if (right) this.finish(0);
    else checksums!.recheck(chunk, op, this);
  }

  rechecked(status: number, badOffset: number): void {
    if (status === ERROR_CODES.CHECKSUM.wire) this.op!.tag = badOffset;
    this.finish(status);
  }

  private makeDurable(): void {
    const chunk = this.chunk!;
    this.pendingSyncs = 1;
    if (chunk.file !== null && !chunk.sync.idle) {
      this.pendingSyncs++;
      chunk.sync.add(this);
    }
    const { directory } = chunk.object;
    if (!directory.idle) {
      this.pendingSyncs++;
      directory.add(this);
    }
    if (--this.pendingSyncs > 0) return;
    if (this.healing) this.heal();
    else this.core.later(this, 0);
  }

  private flush(): void {
    const { object, ended } = this.session!;
    if (ended !== 0) return this.core.later(this, ended);
    this.pendingSyncs = 1;
    for (const chunk of object.chunks.values()) {
      if (chunk.file === null || chunk.sync.idle) continue;
      this.pendingSyncs++;
      chunk.sync.add(this);
    }
    if (!object.directory.idle) {
      this.pendingSyncs++;
      object.directory.add(this);
    }
    if (--this.pendingSyncs === 0) this.core.later(this, 0);
  }

  /** Answers; not from within submit. */
  finish(status: number): void {
    const op = this.op!;
    const session = this.session!;
    const chunk = this.chunk;
    this.op = null;
    this.session = null;
    this.chunk = null;
    this.letGo(this.source);
    this.source = null;
    this.letGo(chunk);
    this.core.free(this, op.scope);
    // Nothing of an ended session succeeds: no read that a newer attach overtook (I4), no flush after one that failed (I10).
    op.status = status === 0 ? session.ended : status;
    session.answered();
    op.owner.chunkDone(op);
  }

  private letGo(chunk: ChunkFile | null): void {
    if (chunk === null) return;
    chunk.holders--;
    this.core.chunks.settled(chunk);
  }
}
