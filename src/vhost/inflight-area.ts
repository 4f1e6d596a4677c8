import { RawstorError } from '../common/errors.js';
import { closeDescriptor, createMemfd } from '../io/index.js';
import { type MappedPart, mapPart } from './guest-memory.js';
import type { InflightDescription } from './messages.js';

/** At the begin of each queue: `features`, which the specification leaves to the back-end. They are the area's, not the ring's. */
export const FEATURES_BYTES = 8;
/** In their first byte. */
const WRITE_THROUGH = 1;

/** Every queue has room for either kind of ring: 32 and 32 bytes a descriptor. */
export function inflightQueueBytes(queueSize: number): number {
  return Math.ceil((32 + 32 * queueSize) / 64) * 64;
}

/**
 * Requests in flight of all queues of a device, kept in memory that the front-end holds for us: a back-end that was
 * killed finds there which requests it had taken and not given back, and whether the guest has turned `writeback` off.
 */
export class InflightArea {
  readonly description: InflightDescription;
  /** Ours; a copy is passed along. */
  readonly fd: number;
  private readonly part: MappedPart;

  /** Takes the descriptor over, also when it fails. @throws RawstorError INVALID, OS_ERROR */
  constructor(description: InflightDescription, fd: number) {
    this.description = description;
    this.fd = fd;
    try {
      this.part = mapPart(fd, description.mapOffset, description.sizeBytes);
      if (description.mapOffset % 8 !== 0) {
        this.part.mapping.unmap();
        throw new RawstorError('INVALID', 'the in-flight area is not aligned');
      }
    } catch (error) {
      closeDescriptor(fd);
      throw error;
    }
  }

  static create(queues: number, queueSize: number): InflightArea {
    const sizeBytes = inflightQueueBytes(queueSize) * queues;
    const fd = createMemfd('rawstor-inflight', sizeBytes);
    return new InflightArea({ sizeBytes, mapOffset: 0, queues, queueSize }, fd);
  }

  /** Bytes of one queue; null where the area has none for it. */
  queue(index: number, size: number): Buffer | null {
    const { queues, queueSize, sizeBytes } = this.description;
    const bytes = inflightQueueBytes(queueSize);
    if (index >= queues || size > queueSize || (index + 1) * bytes > sizeBytes) return null;
    const at = this.part.offset + index * bytes;
    return this.part.mapping.bytes.subarray(at, at + bytes);
  }

  /** Of any queue: a process may have been killed between two of them, before the guest was answered. */
  get writeThrough(): boolean {
    return this.all().some((bytes) => bytes[0] === WRITE_THROUGH);
  }

  setWriteThrough(on: boolean): void {
    for (const bytes of this.all()) bytes[0] = on ? WRITE_THROUGH : 0;
  }

  get isTorn(): boolean {
    return this.part.mapping.isTorn;
  }

  close(): void {
    this.part.mapping.unmap();
    closeDescriptor(this.fd);
  }

  private all(): Buffer[] {
    const queues: Buffer[] = [];
    for (let index = 0; ; index++) {
      const bytes = this.queue(index, 0);
      if (bytes === null) return queues;
      queues.push(bytes);
    }
  }
}
