import { silentLogger } from '../../../src/common/log.js';
import { MiB } from '../../../src/common/units.js';
import { heapMemory } from '../../../src/io/memory.js';
import { BufferPool } from '../../../src/io/pool.js';
import { sumsKey } from '../../../src/ost/checksums/sum-record.js';
import { OstCore } from '../../../src/ost/core.js';
import type { OstObject } from '../../../src/ost/object.js';
import { bootChange } from '../../../src/ost/record-changes.js';
import { type BootRecord, Records } from '../../../src/ost/records.js';
import type { SessionHolder } from '../../../src/ost/session.js';
import { DEFAULT_TUNING, type OstTuning } from '../../../src/ost/tuning.js';
import { ChunkOp } from '../../../src/protocol/index.js';
import { SimDisk } from '../../sim/disk.js';
import { SimProcess } from '../../sim/process.js';
import { SimStorage, SimStore } from '../../sim/storage.js';
import { World } from '../../sim/world.js';
import { objectRecord } from './support.js';

export const BLOCK = 4096;
export const RECORD = objectRecord(1, { chunkSizeBytes: MiB, sizeBytes: MiB });

type Session = Awaited<ReturnType<OstCore['attaching']['attach']>>;

/** One OST on a simulated disk and virtual time, to be led step by step. */
export class SimOst {
  readonly world = new World(3);
  readonly disk = new SimDisk(this.world, 'ost');
  process!: SimProcess;
  core!: OstCore;

  start(tuning: Partial<OstTuning> = {}): void {
    this.finish(this.begun(tuning));
  }

  /** Without waiting for it. */
  startSoon(tuning: Partial<OstTuning>, opened: () => void): void {
    this.begun(tuning).then(opened);
  }

  private begun(tuning: Partial<OstTuning>): Promise<void> {
    const process = new SimProcess(this.world, 'ost');
    this.process = process;
    const pool = new BufferPool(heapMemory(4 * MiB));
    const io = { ...process.io, kind: 'sim' as const, schedule: process.io.schedule, pool };
    const env = {
      io,
      clock: process.clock,
      log: silentLogger,
      kernelBootId: this.disk.kernelBootId,
      dirtyCounters: () => '',
      onFatal: () => this.world.fail('fatal'),
    };
    const records = new Records(new SimStore(this.disk, process));
    const all = { ...DEFAULT_TUNING, reserveBytes: 0, ...tuning };
    const id = '01900000-0000-7000-8000-0000000000ff';
    this.core = new OstCore(id, env, new SimStorage(this.disk, process), records, all);
    const { core } = this;
    process.clock.every(100, () => core.regions.tick++);
    return core.open();
  }

  holder(): SessionHolder {
    return { sessions: new Set(), gone: false };
  }

  /** On record instead of what there is. */
  noteBoot(boot: BootRecord): void {
    const { key, value } = bootChange(boot);
    this.disk.records.set(key.toString('hex'), value!);
  }

  finish<T>(work: Promise<T>): T {
    let done: { value: T } | null = null;
    work.then((value) => {
      done = { value };
    });
    this.world.run(() => done !== null, 60_000, 'work');
    return done!.value;
  }

  attach(epoch: number, record = RECORD): Session {
    return this.finish(this.core.attaching.attach(record, epoch, 1, this.holder()));
  }

  /** An operation on the first chunk, on its first block unless it says otherwise; its status is -1 until it is answered. */
  begin(
    session: Session,
    opcode: number,
    tag: number,
    byte: number,
    offset = 0,
    more: {
      length?: number;
      chunkVersion?: number;
      revert?: boolean;
      revertFor?: unknown;
      done?: () => void;
    } = {},
  ) {
    const { length = BLOCK, chunkVersion = 1, revert = false } = more;
    const { revertFor = session.object.record.snapshots } = more;
    const memory = heapMemory(length);
    memory.bytes.fill(byte);
    const outcome = { status: -1, memory };
    const op = new ChunkOp({
      chunkDone: () => {
        outcome.status = op.status;
        more.done?.();
      },
    });
    const { handle, epoch: sessionEpoch, number: sessionNumber } = session;
    const range = { chunk: 0, chunkVersion, offset, length, revert, revertFor };
    Object.assign(op, { opcode, tag, handle, sessionEpoch, sessionNumber, ...range });
    op.slices.add(memory, 0, length);
    this.core.submit(op, session.holder);
    return outcome;
  }

  answered(outcome: { status: number }): number {
    this.world.run(() => outcome.status >= 0, 60_000, 'an answer');
    return outcome.status;
  }

  pass(forMs: number): void {
    const untilMs = this.world.nowMs + forMs;
    this.process.later(forMs, '', () => {});
    this.world.run(() => this.world.nowMs >= untilMs, forMs + 1, 'time');
  }

  /** The record of the first region's checksums. */
  sums({ key }: OstObject, version = 1): Buffer | undefined {
    return this.disk.records.get(sumsKey(key, 0, version, 0).toString('hex'));
  }
}
