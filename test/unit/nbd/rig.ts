import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { MemoryDeviceOptions } from '../../../src/block/index.js';
import { type BlockDevice, CheckedDevice, FaultDevice, MemoryDevice } from '../../../src/block/index.js';
import { type Clock, systemClock, type Timer } from '../../../src/common/clock.js';
import { RawstorError } from '../../../src/common/errors.js';
import { seededRandom } from '../../../src/common/random.js';
import { MiB } from '../../../src/common/units.js';
import { createIo, type Io } from '../../../src/io/index.js';
import { type ExportSource, NbdServer, type NbdServerOptions } from '../../../src/nbd-server/index.js';

/** A real server on a Unix socket over checked memory devices, with a fault layer between. */
export class Rig {
  readonly io: Io;
  readonly server: NbdServer;
  readonly address: string;
  readonly fault: FaultDevice;
  /** Devices opened and closed so far. */
  opened = 0;
  closedDevices = 0;
  /** Times that its list was asked for. */
  listed = 0;
  private readonly dir: string;

  private constructor(io: Io, dir: string, options: RigOptions) {
    this.io = io;
    this.dir = dir;
    this.address = `unix:${join(dir, 'nbd.sock')}`;
    const memory = new MemoryDevice(io, { sizeBytes: 64 * MiB, ...options.device });
    const context = { io, clock: systemClock, random: seededRandom(1) };
    this.fault = new FaultDevice(memory, context);
    this.server = new NbdServer({ io, exports: this.source(options), lingerMs: 20, ...options.server });
  }

  static async start(options: RigOptions = {}): Promise<Rig> {
    const io = createIo({ poolBytes: options.poolBytes ?? 16 * MiB });
    const rig = new Rig(io, await mkdtemp(join(tmpdir(), 'rawstor-nbd-')), options);
    await rig.server.listen(rig.address);
    return rig;
  }

  /** Everything must be given back: no pool buffer may be left. */
  async stop(): Promise<void> {
    this.fault.setRules();
    this.fault.release();
    await this.server.close();
    await this.idle();
    const left = this.io.pool.usedBytes;
    await this.io.close();
    await rm(this.dir, { recursive: true, force: true });
    if (left !== 0) throw new Error(`${left} bytes of the pool were not given back`);
    if (this.opened !== this.closedDevices) {
      throw new Error(`${this.opened} devices were opened, ${this.closedDevices} closed`);
    }
  }

  /** Waits until what streams hold is back in the pool. */
  private async idle(): Promise<void> {
    for (let i = 0; i < 200 && this.io.pool.usedBytes > 0; i++) await systemClock.sleep(5);
  }

  private source(options: RigOptions): ExportSource {
    return {
      list: async () => {
        this.listed++;
        return [
          { name: 'disk', description: 'a disk' },
          ...(options.moreNames ?? []).map((name) => ({ name })),
        ];
      },
      open: async (name) => {
        await options.beforeOpen?.(name);
        if (name === 'busy')
          throw new RawstorError('BUSY', 'another host writes this volume', { hint: 'detach it' });
        if (name !== 'disk') throw new RawstorError('NOT_FOUND', `no volume '${name}'`);
        this.opened++;
        return this.counted(new CheckedDevice(new Unclosed(this.fault, options.onRefresh)));
      },
    };
  }

  private counted(device: CheckedDevice): BlockDevice {
    const close = device.close.bind(device);
    device.close = async () => {
      await close();
      this.closedDevices++;
    };
    return device;
  }
}

/** The memory stays when an export is closed and opened again. */
class Unclosed implements BlockDevice {
  private readonly inner: BlockDevice;
  private readonly onRefresh: () => Promise<void>;
  constructor(inner: BlockDevice, onRefresh: () => Promise<void> = async () => {}) {
    this.inner = inner;
    this.onRefresh = onRefresh;
  }
  get sizeBytes() {
    return this.inner.sizeBytes;
  }
  get readOnly() {
    return this.inner.readOnly;
  }
  get limits() {
    return this.inner.limits;
  }
  get multiConnection() {
    return this.inner.multiConnection;
  }
  submit(request: Parameters<BlockDevice['submit']>[0]) {
    this.inner.submit(request);
  }
  extents(offset: number, length: number) {
    return this.inner.extents(offset, length);
  }
  async refresh() {
    await this.onRefresh();
  }
  async close() {}
}

export interface RigOptions {
  device?: Partial<MemoryDeviceOptions>;
  server?: Partial<NbdServerOptions>;
  poolBytes?: number;
  moreNames?: string[];
  beforeOpen?: (name: string) => Promise<void>;
  /** Of an open export, for each connection. */
  onRefresh?: () => Promise<void>;
}

/** Time passes when the test says so. */
export class ManualClock implements Clock {
  private now = 0;
  private timers: { at: number; action: () => void }[] = [];

  nowMs(): number {
    return this.now;
  }
  wallMs(): number {
    return this.now;
  }
  after(delayMs: number, action: () => void): Timer {
    const timer = { at: this.now + delayMs, action };
    this.timers.push(timer);
    return {
      cancel: () => {
        this.timers = this.timers.filter((other) => other !== timer);
      },
    };
  }
  every(): Timer {
    throw new Error('not needed here');
  }
  sleep(): Promise<void> {
    throw new Error('not needed here');
  }
  pass(ms: number): void {
    this.now += ms;
    const due = this.timers.filter((timer) => timer.at <= this.now);
    this.timers = this.timers.filter((timer) => timer.at > this.now);
    for (const timer of due) timer.action();
  }
}
