import { RawstorError } from '../common/errors.js';
import type { Chain } from './chain.js';
import { Feature, hasBit, VHOST_LIMITS } from './constants.js';
import type { GuestMemory, MappedPart } from './guest-memory.js';
import type { VringAddresses } from './messages.js';
import { PackedInflight } from './packed-inflight.js';
import { PackedQueue, packedSizes } from './packed-queue.js';
import { SplitInflight } from './split-inflight.js';
import { SplitQueue, splitSizes } from './split-queue.js';
import type { Inflight, QueueOptions, RingMemory, Taken, VirtQueue } from './virtqueue.js';

export interface RingSettings {
  readonly size: number;
  readonly base: number;
  readonly addresses: VringAddresses | null;
  readonly features: bigint;
}

/** What a process that was killed has left in flight. */
export interface Recovered {
  readonly inflight: Inflight;
  readonly heads: readonly number[];
  readAgain(head: number, chain: Chain): Taken;
}

/** A ring with the memory that it lies in. */
export interface OpenRing {
  readonly queue: VirtQueue;
  /** Guest addresses and lengths of what the device writes of the ring. */
  readonly logged: readonly { readonly at: number; readonly lengthBytes: number }[];
  /** Goes on behind what is in flight there. */
  recover(bytes: Buffer): Recovered;
  /** The front-end has taken some of its memory away. */
  isTorn(): boolean;
  close(): void;
}

/** @throws RawstorError INVALID where the front-end's settings make no ring */
export function openRing(memory: GuestMemory, settings: RingSettings): OpenRing {
  const { size, addresses, features, base } = settings;
  const packed = hasBit(features, Feature.RING_PACKED);
  if (addresses === null) throw new RawstorError('INVALID', 'the ring has no addresses');
  if (size < 1 || size > VHOST_LIMITS.queueSize || (!packed && (size & (size - 1)) !== 0)) {
    throw new RawstorError('INVALID', `a ring of ${size} entries`);
  }
  const sizes = packed ? packedSizes(size) : splitSizes(size);
  const parts: MappedPart[] = [];
  const map = (address: number, length: number, alignment: number): Buffer => {
    const part = address % alignment === 0 ? memory.mapRange(address, length) : null;
    if (part === null)
      throw new RawstorError('INVALID', 'the ring is not in the guest memory, or not aligned');
    parts.push(part);
    return part.mapping.bytes.subarray(part.offset, part.offset + length);
  };
  const close = () => {
    for (const part of parts) part.mapping.unmap();
  };
  try {
    const ring = {
      descriptors: map(addresses.descriptors, sizes.descriptors, 16),
      driver: map(addresses.available, sizes.driver, 2),
      device: map(addresses.used, sizes.device, 4),
    };
    const options = {
      size,
      indirect: hasBit(features, Feature.INDIRECT_DESC),
      eventIndex: hasBit(features, Feature.EVENT_IDX),
      base,
    };
    const logged = [{ at: addresses.logAddress, lengthBytes: sizes.device }];
    // The log address is that of the device's area. A packed ring is given back where its descriptors are.
    const at = packed ? memory.guestAddressOf(addresses.descriptors) : null;
    if (at !== null) logged.push({ at, lengthBytes: sizes.descriptors });
    const made = packed ? packedRing(memory, ring, options) : splitRing(memory, ring, options);
    return { ...made, logged, close, isTorn: () => parts.some(({ mapping }) => mapping.isTorn) };
  } catch (error) {
    close();
    throw error;
  }
}

/**
 * With what the process before has left in flight, where there is an area for that.
 * @throws RawstorError INVALID where the settings or the area are not sound
 */
export function reopenRing(
  memory: GuestMemory,
  settings: RingSettings,
  inflight: Buffer | null,
): [OpenRing, Recovered | null] {
  const ring = openRing(memory, settings);
  try {
    return [ring, inflight === null ? null : ring.recover(inflight)];
  } catch (error) {
    ring.close();
    throw error;
  }
}

type Made = Pick<OpenRing, 'queue' | 'recover'>;

function splitRing(memory: GuestMemory, ring: RingMemory, options: QueueOptions): Made {
  const queue = new SplitQueue(memory, ring, options);
  return {
    queue,
    recover: (bytes) => {
      const inflight = new SplitInflight(bytes, options.size);
      const heads = inflight.recover(queue.usedBase);
      queue.resume(heads.length);
      return { inflight, heads, readAgain: (head, chain) => queue.read(head, chain) };
    },
  };
}

function packedRing(memory: GuestMemory, ring: RingMemory, options: QueueOptions): Made {
  const queue = new PackedQueue(memory, ring, options);
  return {
    queue,
    recover: (bytes) => {
      const inflight = new PackedInflight(bytes, options.size);
      const { heads, out, usedBase } = inflight.recover(queue.usedBase, (place) => queue.isGiven(place));
      if (usedBase !== null) queue.resume(usedBase, out);
      const readAgain = (head: number, chain: Chain) => {
        inflight.restore(head, chain);
        return queue.readAgain(chain);
      };
      return { inflight, heads, readAgain };
    },
  };
}
