import { type BlockDevice, BlockFlag, BlockOp, type BlockOwner, Withdrawn } from '../block/index.js';
import type { RawstorError } from '../common/errors.js';
import { TRACE, TraceKind, TraceSite } from '../common/trace.js';
import { RANGE_SECTORS_MAX } from './config-space.js';
import { BlkStatus, BlkType, VHOST_LIMITS } from './constants.js';
import { copyInto, copyOf, GuestRequest, HEADER_BYTES } from './guest-request.js';
import type { WriteCopies } from './write-copies.js';

/** From a chain being taken to its being given back; the guest is told at the end of the turn. */
const TRACED = new TraceSite('vhost', ['chain to volume', 'volume', 'answer to ring']);
const Mark = { SUBMITTED: 1, DONE: 2 } as const;
const SECTOR_BYTES = 512;
const SEGMENT_BYTES = 16;
const UNMAP = 1;
const ID_BYTES = 20;

export interface ExecutorOptions {
  readonly device: BlockDevice;
  readonly copies: WriteCopies;
  /** What GET_ID tells; longer ones are cut. */
  readonly serial: string;
  /** Every change is durable before it is answered. */
  readonly writeThrough: () => boolean;
  /** The guest relies on FLUSH. */
  readonly flushed: () => void;
  /** What was read of guest memory just now may be none of it. */
  readonly isTorn: () => boolean;
  /** The front-end is: what was not submitted yet is for who comes next. */
  readonly gone: () => boolean;
  /** Ends a request: its chain may be given back, `writtenBytes` of it written. May come from within `start`. */
  done(request: GuestRequest, status: number, writtenBytes: number): void;
  /** Ends a request that is not answered: the front-end is gone, and what is in flight is for who comes next. */
  left(request: GuestRequest): void;
}

/** Carries out virtio-blk requests (virtio 1.2, 5.2.6) whose chains have a whole header and a byte for the status. */
export class Executor implements BlockOwner {
  private readonly device: BlockDevice;
  private readonly options: ExecutorOptions;
  private readonly serial: Buffer;

  constructor(options: ExecutorOptions) {
    this.options = options;
    this.device = options.device;
    this.serial = Buffer.from(options.serial).subarray(0, ID_BYTES);
  }

  newRequest(): GuestRequest {
    return new GuestRequest(this);
  }

  start(request: GuestRequest): void {
    request.readHeader();
    request.span = TRACE.on ? TRACED.begin(traceKindOf(request.type)) : null;
    // What is gone reads as zeros, and zeros are a request like any other.
    if (this.options.isTorn()) return this.fail(request, BlkStatus.IOERR);
    const { readable, writable } = request.chain;
    switch (request.type) {
      case BlkType.IN:
        request.rangeBytes = writable.lengthBytes - 1;
        if (!this.isSound(request)) return this.fail(request, BlkStatus.IOERR);
        request.op = BlockOp.READ;
        request.flags = 0;
        return this.piece(request);
      case BlkType.OUT:
        request.rangeBytes = readable.lengthBytes - HEADER_BYTES;
        if (this.device.readOnly || !this.isSound(request)) return this.fail(request, BlkStatus.IOERR);
        request.op = BlockOp.WRITE;
        request.flags = this.durable();
        return this.piece(request);
      case BlkType.FLUSH:
        this.options.flushed();
        request.op = BlockOp.FLUSH;
        request.flags = 0;
        request.offset = 0;
        request.length = 0;
        request.slices.clear();
        request.span?.mark(Mark.SUBMITTED);
        return this.device.submit(request);
      case BlkType.GET_ID:
        return this.tellId(request);
      case BlkType.DISCARD:
      case BlkType.WRITE_ZEROES: {
        const bytes = readable.lengthBytes - HEADER_BYTES;
        const sound = bytes > 0 && bytes % SEGMENT_BYTES === 0;
        if (this.device.readOnly || !sound || bytes > VHOST_LIMITS.rangeSegments * SEGMENT_BYTES) {
          return this.fail(request, BlkStatus.IOERR);
        }
        request.segments = copyOf(readable, HEADER_BYTES, bytes);
        if (this.options.isTorn()) return this.fail(request, BlkStatus.IOERR);
        return this.beginSegment(request);
      }
      default:
        return this.fail(request, BlkStatus.UNSUPP);
    }
  }

  blockDone(block: GuestRequest, error: RawstorError | null): void {
    const request = block;
    request.span?.mark(Mark.DONE);
    if (request.copy !== null) {
      const copy = request.copy;
      request.copy = null;
      this.options.copies.release(copy);
    }
    if (error instanceof Withdrawn) return this.leave(request);
    if (error !== null) return this.fail(request, BlkStatus.IOERR);
    if (request.op === BlockOp.FLUSH) return this.end(request, BlkStatus.OK, 0);
    request.doneBytes += request.length;
    if (request.doneBytes < request.rangeBytes) return this.piece(request);
    if (request.segments !== null) {
      request.segment += SEGMENT_BYTES;
      if (request.segment < request.segments.length) return this.beginSegment(request);
    }
    this.end(request, BlkStatus.OK, request.op === BlockOp.READ ? request.rangeBytes : 0);
  }

  private leave(request: GuestRequest): void {
    request.segments = null;
    this.options.left(request);
  }

  private piece(request: GuestRequest): void {
    if (this.options.gone()) return this.leave(request);
    const { limits } = this.device;
    const left = request.rangeBytes - request.doneBytes;
    request.offset = request.start + request.doneBytes;
    request.slices.clear();
    if (request.op === BlockOp.READ) {
      request.length = Math.min(left, limits.payloadMaxBytes);
      request.slices.addRange(request.chain.writable, request.doneBytes, request.length);
      request.touchedBytes = request.doneBytes + request.length;
    } else if (request.op === BlockOp.WRITE) {
      const { copies } = this.options;
      const length = Math.min(left, limits.payloadMaxBytes, copies.pieceMaxBytes);
      const buffer = copies.acquire(length);
      if (buffer === null) return copies.whenFree(() => this.piece(request));
      const { memory, offset } = buffer;
      copyInto(memory.bytes, offset, request.chain.readable, HEADER_BYTES + request.doneBytes, length);
      if (this.options.isTorn()) {
        copies.release(buffer);
        return this.fail(request, BlkStatus.IOERR);
      }
      request.copy = buffer;
      request.length = length;
      request.slices.add(memory, offset, length);
    } else request.length = Math.min(left, limits.rangeMaxBytes);
    request.span?.mark(Mark.SUBMITTED);
    this.device.submit(request);
  }

  private beginSegment(request: GuestRequest): void {
    const { segments, segment } = request;
    const sector = segments!.readUInt32LE(segment) + segments!.readUInt32LE(segment + 4) * 0x1_0000_0000;
    const sectors = segments!.readUInt32LE(segment + 8);
    const flags = segments!.readUInt32LE(segment + 12);
    const isDiscard = request.type === BlkType.DISCARD;
    if ((flags & ~UNMAP) !== 0 || (isDiscard && flags !== 0)) return this.fail(request, BlkStatus.UNSUPP);
    request.start = sector * SECTOR_BYTES;
    request.rangeBytes = sectors * SECTOR_BYTES;
    request.doneBytes = 0;
    if (sectors > RANGE_SECTORS_MAX || !this.isSound(request)) return this.fail(request, BlkStatus.IOERR);
    request.op = isDiscard ? BlockOp.DISCARD : BlockOp.WRITE_ZEROES;
    request.flags = this.durable() | (!isDiscard && (flags & UNMAP) !== 0 ? BlockFlag.MAY_UNMAP : 0);
    this.piece(request);
  }

  /** A range of whole blocks inside of the device. */
  private isSound({ start, rangeBytes }: GuestRequest): boolean {
    const block = Math.max(SECTOR_BYTES, this.device.limits.blockSizeMinBytes);
    return (
      rangeBytes > 0 &&
      rangeBytes % block === 0 &&
      start % block === 0 &&
      start + rangeBytes <= (this.device.endBytes ?? this.device.sizeBytes)
    );
  }

  private tellId(request: GuestRequest): void {
    const { writable } = request.chain;
    const length = Math.min(ID_BYTES, writable.lengthBytes - 1);
    const bytes = Buffer.alloc(length);
    this.serial.copy(bytes);
    writable.fill({ bytes, address: 0 }, 0, 0, length);
    request.touchedBytes = length;
    this.end(request, BlkStatus.OK, length);
  }

  private durable(): number {
    return this.options.writeThrough() ? BlockFlag.FUA : 0;
  }

  private fail(request: GuestRequest, status: number): void {
    this.end(request, status, 0);
  }

  private end(request: GuestRequest, status: number, dataBytes: number): void {
    request.segments = null;
    request.writeStatus(status);
    request.span?.end();
    request.span = null;
    // The status is the last byte, so what lies before it counts as written.
    this.options.done(
      request,
      status,
      status === BlkStatus.OK ? dataBytes + 1 : request.chain.writable.lengthBytes,
    );
  }
}

function traceKindOf(type: number): TraceKind {
  if (type === BlkType.IN) return TraceKind.READ;
  if (type === BlkType.OUT) return TraceKind.WRITE;
  return type === BlkType.FLUSH ? TraceKind.FLUSH : TraceKind.OTHER;
}
