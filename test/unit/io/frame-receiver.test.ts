import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { FrameReceiver } from '../../../src/io/frame-receiver.js';
import { BufferPool, heapMemory, type PoolBuffer } from '../../../src/io/index.js';
import { LengthFrames, lengthHeader, pattern } from './support.js';

const MiB = 1024 * 1024;

/** Feeds a stream of bytes to a receiver as a socket would, in chunks of given sizes. */
class Feeder {
  readonly pool: BufferPool;
  readonly receiver: FrameReceiver;
  private readonly bytes: Buffer;
  private readonly handedOut = new Set<PoolBuffer>();
  at = 0;

  constructor(bytes: Buffer, poolBytes = 8 * MiB) {
    this.pool = new BufferPool(heapMemory(poolBytes));
    this.receiver = new FrameReceiver(this.pool);
    this.bytes = bytes;
    const acquire = this.pool.acquire.bind(this.pool);
    this.pool.acquire = (sizeBytes) => {
      const buffer = acquire(sizeBytes);
      if (buffer !== null) this.handedOut.add(buffer);
      return buffer;
    };
  }

  /** What comes at the target overwrites nothing of anybody else's. */
  private expectTargetInOneBuffer(): void {
    const { targetOffset, targetBytes } = this.receiver;
    const holding = [...this.handedOut].filter(
      ({ refs, offset, sizeBytes }) =>
        refs > 0 && offset <= targetOffset && targetOffset + targetBytes <= offset + sizeBytes,
    );
    expect(holding.length, `buffers that hold ${targetBytes} bytes at ${targetOffset}`).toBe(1);
  }

  /** One receive of at most `size` bytes; false when the pool is empty or nothing is wanted. */
  feed(size: number): boolean {
    if (!this.receiver.wanting || !this.receiver.plan()) return false;
    const { targetOffset, targetBytes } = this.receiver;
    expect(targetBytes).toBeGreaterThan(0);
    this.expectTargetInOneBuffer();
    const count = Math.min(size, targetBytes, this.bytes.length - this.at);
    this.bytes.copy(this.pool.memory.bytes, targetOffset, this.at, this.at + count);
    this.at += count;
    this.receiver.received(count);
    return true;
  }
}

function frames(sizes: number[]): Buffer {
  return Buffer.concat(sizes.flatMap((size, i) => [lengthHeader(size), pattern(size, i)]));
}

/** Offsets in the stream at which headers and payloads end. */
function boundaries(sizes: number[]): number[] {
  let at = 0;
  const next = (bytes: number) => {
    at += bytes;
    return at;
  };
  return sizes.flatMap((size) => [next(4), next(size)]);
}

const sizeArbitrary = fc.oneof(
  { weight: 4, arbitrary: fc.integer({ min: 0, max: 200 }) },
  { weight: 3, arbitrary: fc.integer({ min: 0, max: 9000 }) },
  { weight: 3, arbitrary: fc.integer({ min: 9000, max: 33000 }) },
  { weight: 2, arbitrary: fc.integer({ min: 30000, max: 300000 }) },
  { weight: 1, arbitrary: fc.constantFrom(MiB, MiB - 1, MiB - 4, 65536, 262144, 262140) },
);
/** A receive of this size ends where the frame's header or payload ends. */
const TO_BOUNDARY = 0;
const chunkArbitrary = fc.oneof(
  { weight: 2, arbitrary: fc.constant(TO_BOUNDARY) },
  fc.integer({ min: 1, max: 7 }),
  fc.integer({ min: 1, max: 5000 }),
  fc.constantFrom(4096, 16384, 65536, 262144, MiB),
);

describe('frame receiver', () => {
  it('gives every frame whole, however the bytes are cut and whatever is retained', () => {
    fc.assert(
      fc.property(
        fc.array(sizeArbitrary, { minLength: 1, maxLength: 40 }),
        fc.array(chunkArbitrary, { minLength: 1, maxLength: 20 }),
        fc.array(fc.boolean(), { minLength: 1, maxLength: 10 }),
        (sizes, chunks, keeps) => {
          const feeder = new Feeder(frames(sizes), 32 * MiB);
          const kept: { buffer: PoolBuffer; offset: number; index: number }[] = [];
          let index = 0;
          const check = (buffer: PoolBuffer, offset: number, i: number) => {
            expect(offset).toBeGreaterThanOrEqual(buffer.offset);
            expect(offset + sizes[i]!).toBeLessThanOrEqual(buffer.offset + buffer.sizeBytes);
            const bytes = buffer.memory.bytes.subarray(offset, offset + sizes[i]!);
            expect(bytes.equals(pattern(sizes[i]!, i))).toBe(true);
          };
          feeder.receiver.setHandler(
            new LengthFrames((buffer, offset, lengthBytes) => {
              expect(lengthBytes).toBe(sizes[index]);
              if (buffer === null) expect(lengthBytes).toBe(0);
              else {
                check(buffer, offset, index);
                if (keeps[index % keeps.length]) kept.push({ buffer: buffer.retain(), offset, index });
              }
              index++;
              // Some are let go later, so that buffers are reused around those still held.
              while (kept.length > 6) {
                const old = kept.shift()!;
                check(old.buffer, old.offset, old.index);
                old.buffer.release();
              }
            }),
          );
          const ends = boundaries(sizes);
          for (let turn = 0; index < sizes.length; turn++) {
            while (ends[0]! <= feeder.at) ends.shift();
            const chunk = chunks[turn % chunks.length]!;
            expect(feeder.feed(chunk === TO_BOUNDARY ? ends[0]! - feeder.at : chunk)).toBe(true);
          }
          for (const old of kept) {
            check(old.buffer, old.offset, old.index);
            old.buffer.release();
          }
          expect(feeder.receiver.insideFrame).toBe(false);
          feeder.receiver.dispose();
          expect(feeder.pool.usedBytes).toBe(0);
        },
      ),
      { numRuns: 25 },
    );
  });

  it('never receives beyond its buffer, where a payload is larger than that and comes after a straight one', () => {
    const sizes = [40_000, 28_672, 10];
    const feeder = new Feeder(frames(sizes));
    let seen = 0;
    feeder.receiver.setHandler(new LengthFrames(() => seen++));
    // Each header without its payload, so that nothing of that is there when its place is chosen.
    for (const size of sizes) {
      feeder.feed(4);
      for (let left = size; left > 0; ) {
        const before = feeder.at;
        feeder.feed(left);
        left -= feeder.at - before;
      }
    }
    expect(seen).toBe(sizes.length);
  });

  it('receives the body of large payloads straight into their own buffer', () => {
    const sizes = new Array(20).fill(512 * 1024);
    const feeder = new Feeder(frames(sizes));
    let seen = 0;
    feeder.receiver.setHandler(new LengthFrames(() => seen++));
    let straight = 0;
    while (seen < sizes.length) {
      expect(feeder.receiver.plan()).toBe(true);
      if (feeder.receiver.targetWhole) straight += feeder.receiver.targetBytes;
      feeder.feed(MiB);
    }
    expect(straight / (20 * 512 * 1024)).toBeGreaterThan(0.9);
  });

  it('takes a small buffer for small traffic and a large one for much', () => {
    const feeder = new Feeder(Buffer.concat(new Array(200).fill(frames([100]))));
    feeder.receiver.setHandler(new LengthFrames(() => {}));
    for (let i = 0; i < 100; i++) feeder.feed(104);
    expect(feeder.pool.usedBytes).toBe(4096);
    const busy = new Feeder(Buffer.concat(new Array(400).fill(frames([4096]))));
    busy.receiver.setHandler(new LengthFrames(() => {}));
    for (let i = 0; i < 8; i++) busy.feed(MiB);
    expect(busy.pool.usedBytes).toBe(262144);
  });

  it('waits for the pool without losing its place', () => {
    const sizes = [10, 700_000, 20, 900_000, 5];
    const feeder = new Feeder(frames(sizes), 2 * MiB);
    const hog = feeder.pool.acquire(MiB)!;
    let index = 0;
    feeder.receiver.setHandler(
      new LengthFrames((buffer, offset, lengthBytes) => {
        expect(
          buffer!.memory.bytes.subarray(offset, offset + lengthBytes).equals(pattern(lengthBytes, index)),
        ).toBe(true);
        index++;
      }),
    );
    while (feeder.feed(50_000));
    expect(index).toBe(1);
    hog.release();
    while (index < sizes.length) expect(feeder.feed(50_000)).toBe(true);
  });

  it('stops at a pause within the handler, and goes on with the framing that receive chose', () => {
    const feeder = new Feeder(Buffer.concat([frames([3, 4]), Buffer.from('abcdef'), frames([9])]));
    const seen: string[] = [];
    const lines = {
      headerBytes: 2,
      header: () => 1,
      frame: (_: PoolBuffer | null, offset: number) => {
        seen.push(`text ${feeder.pool.memory.bytes.toString('latin1', offset - 2, offset + 1)}`);
        if (seen.length === 4) feeder.receiver.setHandler(last);
      },
    };
    const last = new LengthFrames((_b, _o, length) => seen.push(`last ${length}`));
    feeder.receiver.setHandler(
      new LengthFrames((_b, _o, length) => {
        seen.push(`frame ${length}`);
        if (length === 3) feeder.receiver.paused = true;
        else feeder.receiver.setHandler(lines);
        feeder.receiver.parse();
      }),
    );
    feeder.feed(MiB);
    expect(seen).toEqual(['frame 3']);
    feeder.receiver.paused = false;
    feeder.receiver.parse();
    expect(seen).toEqual(['frame 3', 'frame 4', 'text abc', 'text def', 'last 9']);
  });

  it('refuses a payload that no buffer holds', () => {
    const feeder = new Feeder(lengthHeader(MiB + 1));
    feeder.receiver.setHandler(new LengthFrames(() => {}));
    feeder.feed(100);
    expect(feeder.receiver.fault?.code).toBe('PROTOCOL');
    expect(feeder.receiver.wanting).toBe(false);
  });
});
