import { type BlockDevice, BlockFlag, BlockOp, type BlockOwner, BlockRequest } from '../block/index.js';
import type { LockHolder } from '../client/index.js';
import { asRawstorError, RawstorError } from '../common/errors.js';
import { LIMITS } from '../common/limits.js';
import { type Memory, type Releasable, SliceList } from '../io/memory.js';
import { type BufferPool, LARGEST_BUFFER_BYTES } from '../io/pool.js';
import { Buffers } from './buffers.js';
import type { OpenFile } from './open-file.js';
import { sectorCeil, sectorFloor } from './sectors.js';

const SECTOR = LIMITS.sectorBytes;

export interface DataHost {
  readonly pool: BufferPool;
  /** Once a request; `data` of it is what was read. */
  dataDone(request: DataRequest, error: RawstorError | null): void;
  dataReleased(request: DataRequest): void;
}

/**
 * A READ or WRITE of any bytes of a file as one or two requests for whole sectors, preallocated and used again. A write that begins
 * or ends within a sector first reads what else that has; no other write to these sectors is under way meanwhile, so none is lost.
 */
export class DataRequest implements BlockOwner, LockHolder, Releasable {
  unique = 0;
  /** Who waits for it. */
  pid = 0;
  kind: 'read' | 'write' = 'read';
  file: OpenFile | null = null;
  /** Of the answer: what was read. */
  readonly data = new SliceList();
  /** It was answered because somebody did not want to wait: its outcome is told to nobody. */
  abandoned = false;
  /** Bytes of the file that were read or written. */
  lengthBytes = 0;
  /** Whole sectors of a write. */
  private start = 0;
  private end = 0;
  lockStart = 0;
  lockEnd = 0;
  readonly lockExclusive = true;
  lockSlot = -1;
  private readonly host: DataHost;
  private readonly blocks = [new BlockRequest(this), new BlockRequest(this)] as const;
  private readonly buffers = new Buffers();
  /** What a write consists of, edges included. */
  private readonly whole = new SliceList();
  private payload: Memory | null = null;
  private payloadOffset = 0;
  private payloadOwner: Releasable | null = null;
  private device: BlockDevice | null = null;
  private offset = 0;
  private fua = false;
  private wantedBytes = 0;
  private reopened = false;
  private live = 0;
  private error: RawstorError | null = null;
  private next: () => void = () => {};

  constructor(host: DataHost) {
    this.host = host;
  }

  read(unique: number, file: OpenFile, offset: number, lengthBytes: number): void {
    this.begin(unique, file, offset);
    this.kind = 'read';
    this.wantedBytes = lengthBytes;
    this.reopened = false;
    if (file.lost) this.reopen(file);
    else if (!file.isBehind(offset + lengthBytes)) this.sized();
    else this.after(file.refresh(), () => this.sized());
  }

  /** The owner of the bytes is released when they are not needed any more. */
  write(
    unique: number,
    file: OpenFile,
    offset: number,
    payload: { memory: Memory; offset: number; lengthBytes: number; owner: Releasable },
    durable: boolean,
  ): void {
    this.begin(unique, file, offset);
    this.kind = 'write';
    this.lengthBytes = payload.lengthBytes;
    this.payload = payload.memory;
    this.payloadOffset = payload.offset;
    this.payloadOwner = payload.owner;
    this.fua = durable;
    this.start = sectorFloor(offset);
    this.end = sectorCeil(offset + payload.lengthBytes);
    this.lock(file);
  }

  lockGranted(): void {
    const file = this.file!;
    const end = this.offset + this.lengthBytes;
    if (file.end.lockStart(this.offset, end) < this.lockStart || file.end.lockEnd(end) > this.lockEnd) {
      file.locks.release(this);
      return this.lock(file);
    }
    if (!file.writable) {
      return this.finish(new RawstorError('READ_ONLY', 'somebody else writes to it', { where: file.name }));
    }
    if (!file.needsGrowth(end)) return this.startEdges();
    this.after(file.grow(end), this.startEdges);
  }

  blockDone(_request: BlockRequest, error: RawstorError | null): void {
    this.error ??= error;
    if (--this.live > 0) return;
    if (this.error !== null) this.failed(this.error);
    else this.next();
  }

  /** What the answer named has been sent: it can be used again. */
  release(): void {
    this.buffers.giveBack();
    this.data.clear();
    this.file = null;
    this.device = null;
    this.host.dataReleased(this);
  }

  private lock(file: OpenFile): void {
    const end = this.offset + this.lengthBytes;
    this.lockStart = file.end.lockStart(this.offset, end);
    this.lockEnd = file.end.lockEnd(end);
    if (file.locks.acquire(this)) this.lockGranted();
  }

  private begin(unique: number, file: OpenFile, offset: number): void {
    this.unique = unique;
    this.file = file;
    this.offset = offset;
    this.device = null;
    this.abandoned = false;
    this.error = null;
    this.live = 0;
    this.fua = false;
  }

  /** What the file is read by has ended, perhaps under this very request: by what it is read from now on. */
  private reopen(file: OpenFile): void {
    this.reopened = true;
    this.after(file.open(false), () => this.sized());
  }

  private after(done: Promise<void>, next: () => void): void {
    done.then(next, (error) => this.failed(asRawstorError(error)));
  }

  private failed(error: RawstorError): void {
    const file = this.file!;
    if (this.kind === 'write' || !file.lost || this.reopened) return this.finish(error);
    this.buffers.giveBack();
    this.error = null;
    this.reopen(file);
  }

  private sized(): void {
    this.lengthBytes = Math.max(0, Math.min(this.wantedBytes, this.file!.sizeBytes - this.offset));
    if (this.lengthBytes === 0) this.finish(null);
    else this.startRead();
  }

  /** Nobody has it open any more who would want it: it was interrupted. */
  private closed(): void {
    this.finish(new RawstorError('UNAVAILABLE', 'it is closed', { where: this.file!.name }));
  }

  private readonly startRead = (): void => {
    this.device = this.file!.device;
    if (this.device === null) return this.closed();
    const start = sectorFloor(this.offset);
    const end = sectorCeil(this.offset + this.lengthBytes);
    const mostBytes = Math.min(LARGEST_BUFFER_BYTES, this.device.limits.payloadMaxBytes);
    for (let at = start; at < end; at += mostBytes) {
      const length = Math.min(mostBytes, end - at);
      if (!this.buffers.take(this.host.pool, length)) return this.host.pool.whenFree(this.startRead);
    }
    this.next = () => this.hasRead(start);
    this.live = this.buffers.all.length;
    let at = start;
    for (const [i, buffer] of this.buffers.all.entries()) {
      const length = Math.min(mostBytes, end - at);
      this.set(i, BlockOp.READ, at, length).slices.add(buffer.memory, buffer.offset, length);
      at += length;
    }
    const { device, blocks } = this;
    for (let i = 0; i < this.buffers.all.length; i++) device.submit(blocks[i]!);
  };

  private hasRead(start: number): void {
    const { data, whole } = this;
    whole.clear();
    for (const [i, buffer] of this.buffers.all.entries()) {
      whole.add(buffer.memory, buffer.offset, this.blocks[i]!.length);
    }
    data.clear();
    const { file } = this;
    file!.follow();
    this.lengthBytes = Math.max(0, Math.min(this.lengthBytes, file!.sizeBytes - this.offset));
    if (this.lengthBytes > 0) data.addRange(whole, this.offset - start, this.lengthBytes);
    this.finish(null);
  }

  /** Reads the sectors at both ends where they have more than is written. The device may be another than when it was asked. */
  private readonly startEdges = (): void => {
    const file = this.file!;
    this.device = file.volume;
    if (this.device === null) return this.closed();
    const end = this.offset + this.lengthBytes;
    const headPart = this.offset - this.start;
    const tailPart = this.end - end;
    if (headPart === 0 && tailPart === 0) return this.startWrite();
    if (!this.buffers.take(this.host.pool, 2 * SECTOR)) return this.host.pool.whenFree(this.startEdges);
    const [edges] = this.buffers.all;
    const { bytes } = edges!.memory;
    bytes.fill(0, edges!.offset, edges!.offset + 2 * SECTOR);
    const oneSector = this.end - this.start === SECTOR;
    // Behind the end of the file there are zeros.
    const readsTail = tailPart > 0 && end < file.sizeBytes;
    const readsHead = (headPart > 0 && this.start < file.sizeBytes) || (oneSector && readsTail);
    this.next = () => this.startWrite();
    this.live = 0;
    if (readsHead) this.edge(this.live++, this.start, 0);
    if (readsTail && !oneSector) this.edge(this.live++, this.end - SECTOR, SECTOR);
    if (this.live === 0) return this.startWrite();
    for (let i = 0, count = this.live; i < count; i++) this.device!.submit(this.blocks[i]!);
  };

  private edge(index: number, at: number, bufferAt: number): void {
    const [edges] = this.buffers.all;
    this.set(index, BlockOp.READ, at, SECTOR).slices.add(edges!.memory, edges!.offset + bufferAt, SECTOR);
  }

  private startWrite(): void {
    const { whole, device } = this;
    const end = this.offset + this.lengthBytes;
    const headPart = this.offset - this.start;
    const tailPart = this.end - end;
    const [edges] = this.buffers.all;
    whole.clear();
    if (headPart > 0) whole.add(edges!.memory, edges!.offset, headPart);
    whole.add(this.payload!, this.payloadOffset, this.lengthBytes);
    if (tailPart > 0) {
      const sector = this.end - this.start === SECTOR ? 0 : SECTOR;
      whole.add(edges!.memory, edges!.offset + sector + SECTOR - tailPart, tailPart);
    }
    const total = this.end - this.start;
    const firstBytes = Math.min(total, device!.limits.payloadMaxBytes);
    this.next = () => this.hasWritten();
    this.live = total > firstBytes ? 2 : 1;
    this.set(0, BlockOp.WRITE, this.start, firstBytes).slices.addRange(whole, 0, firstBytes);
    if (total > firstBytes) {
      const rest = total - firstBytes;
      this.set(1, BlockOp.WRITE, this.start + firstBytes, rest).slices.addRange(whole, firstBytes, rest);
    }
    for (let i = 0, count = this.live; i < count; i++) device!.submit(this.blocks[i]!);
  }

  private hasWritten(): void {
    const file = this.file!;
    file.wrote(this.offset + this.lengthBytes);
    if (!this.fua || !file.sizeUnrecorded) return this.finish(null);
    // With the zeros before it, which are no less part of the file then.
    this.after(file.sync(), () => this.finish(null));
  }

  private set(index: number, op: BlockOp, offset: number, length: number): BlockRequest {
    const block = this.blocks[index]!;
    block.op = op;
    block.flags = op === BlockOp.WRITE && this.fua ? BlockFlag.FUA : 0;
    block.offset = offset;
    block.length = length;
    block.slices.clear();
    return block;
  }

  private finish(error: RawstorError | null): void {
    const file = this.file!;
    if (this.payload !== null) {
      const end = this.offset + this.lengthBytes;
      if (error !== null && end > file.sizeBytes) file.end.reaches(end);
      if (error !== null || this.abandoned) file.wroteUnheard();
      file.locks.release(this);
      this.payload = null;
      this.payloadOwner?.release();
      this.payloadOwner = null;
    }
    this.host.dataDone(this, error);
  }
}
