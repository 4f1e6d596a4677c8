import { DescriptorSocket } from '../../src/io/index.js';
import { BlkType, DescFlag, Feature, maskOf, ProtocolFeature, Request } from '../../src/vhost/constants.js';
import { FrontEnd } from '../../test/fixtures/vhost/connection.js';
import { Driver } from '../../test/fixtures/vhost/driver.js';

const SIZE = 256;
const HEADERS_AT = 128 * 1024;
const HEADER_BYTES = 32;
const SECTOR_BYTES = 512;

/**
 * The driver's side of one split queue with event index, as a Linux guest has it: interrupts where it waits for one, kicks where
 * the device does. Every slot has three descriptors of its own (header, data, status), so that nothing is searched for.
 */
export class VhostQueue {
  readonly front: FrontEnd;
  readonly sizeBytes: number;
  private readonly driver: Driver;
  private readonly words: Uint16Array;
  private readonly longs: Uint32Array;
  private readonly dataAt: number;
  private readonly blockBytes: number;
  private available = 0;
  private kicked = 0;
  private used = 0;

  private constructor(front: FrontEnd, driver: Driver, sizeBytes: number, blockBytes: number) {
    this.front = front;
    this.driver = driver;
    this.sizeBytes = sizeBytes;
    this.blockBytes = blockBytes;
    const { buffer, byteOffset, byteLength } = front.bytes;
    this.words = new Uint16Array(buffer, byteOffset, byteLength / 2);
    this.longs = new Uint32Array(buffer, byteOffset, byteLength / 4);
    this.dataAt = front.sizeBytes / 2;
  }

  static async connect(path: string, depth: number, blockBytes: number): Promise<VhostQueue> {
    // Data are in the second half, all in one region.
    const front = new FrontEnd(DescriptorSocket.connect(path), 2 * Math.max(1 << 20, depth * blockBytes));
    const wanted = [Feature.FLUSH, Feature.EVENT_IDX, Feature.PROTOCOL_FEATURES, Feature.VERSION_1];
    const offered = await front.u64(Request.GET_FEATURES);
    const protocol = maskOf([ProtocolFeature.MQ, ProtocolFeature.REPLY_ACK, ProtocolFeature.CONFIG]);
    await front.negotiate(offered & maskOf(wanted), protocol);
    const asked = Buffer.alloc(12 + 8);
    asked.writeUInt32LE(8, 4);
    const { payload } = await front.call(Request.GET_CONFIG, asked);
    if ((await front.shareMemory()) !== 0) throw new Error('the memory is refused');
    const driver = new Driver(front, 0, SIZE, false);
    driver.start();
    return new VhostQueue(front, driver, Number(payload.readBigUInt64LE(12)) * SECTOR_BYTES, blockBytes);
  }

  /** Fills a slot's data with what does not compress, once. */
  prepare(slot: number): void {
    const from = (this.dataAt + slot * this.blockBytes) / 4;
    for (let i = 0; i < this.blockBytes / 4; i++)
      this.longs[from + i] = Math.imul(i + slot * 977, 0x9e3779b1);
  }

  /** Makes a request available, without a kick; `block` of the volume where there is one. */
  add(slot: number, type: number, block: number): void {
    const headerAt = HEADERS_AT + slot * HEADER_BYTES;
    const [header, data, status] = [3 * slot, 3 * slot + 1, 3 * slot + 2];
    const hasData = type !== BlkType.FLUSH;
    const { longs, front } = this;
    const sector = (block * this.blockBytes) / SECTOR_BYTES;
    longs[headerAt / 4] = type;
    longs[headerAt / 4 + 1] = 0;
    longs[headerAt / 4 + 2] = sector % 0x1_0000_0000;
    longs[headerAt / 4 + 3] = Math.floor(sector / 0x1_0000_0000);
    front.bytes[headerAt + 16] = 0xff;
    this.describe(header, headerAt, 16, DescFlag.NEXT, hasData ? data : status);
    if (hasData) {
      const at = this.dataAt + slot * this.blockBytes;
      const flags = DescFlag.NEXT | (type === BlkType.IN ? DescFlag.WRITE : 0);
      this.describe(data, at, this.blockBytes, flags, status);
    }
    this.describe(status, headerAt + 16, 1, DescFlag.WRITE, 0);
    const ring = this.driver.at.driver / 2;
    this.words[ring + 2 + (this.available % SIZE)] = header;
    this.available = (this.available + 1) & 0xffff;
    Atomics.store(this.words, ring + 1, this.available);
  }

  /** Kicks where the device waits for one of what was added since the last time. */
  kick(): void {
    if (this.kicked === this.available) return;
    const event = Atomics.load(this.words, this.driver.at.device / 2 + 2 + SIZE * 4);
    const needed = ((this.available - event - 1) & 0xffff) < ((this.available - this.kicked) & 0xffff);
    this.kicked = this.available;
    if (needed) this.driver.kick.signal();
  }

  /** The next slot that was given back, -1 when there is none: then an interrupt follows. @throws Error for one that failed */
  take(): number {
    const index = this.driver.at.device / 2 + 1;
    if (Atomics.load(this.words, index) === this.used) {
      Atomics.store(this.words, this.driver.at.driver / 2 + 2 + SIZE, this.used);
      if (Atomics.load(this.words, index) === this.used) return -1;
    }
    const head = this.longs[this.driver.at.device / 4 + 1 + 2 * (this.used % SIZE)]!;
    this.used = (this.used + 1) & 0xffff;
    const slot = head / 3;
    const status = this.front.bytes[HEADERS_AT + slot * HEADER_BYTES + 16];
    if (status !== 0) throw new Error(`a request failed with status ${status}`);
    return slot;
  }

  onInterrupt(callback: () => void): void {
    this.driver.call.watch(callback);
  }

  private describe(index: number, at: number, length: number, flags: number, next: number): void {
    const entry = this.driver.at.descriptors + 16 * index;
    const address = this.front.guest(at);
    this.longs[entry / 4] = address % 0x1_0000_0000;
    this.longs[entry / 4 + 1] = Math.floor(address / 0x1_0000_0000);
    this.longs[entry / 4 + 2] = length;
    this.words[entry / 2 + 6] = flags;
    this.words[entry / 2 + 7] = next;
  }
}
