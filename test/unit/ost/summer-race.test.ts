import { expect, test } from 'vitest';
import { silentLogger } from '../../../src/common/log.js';
import { MiB } from '../../../src/common/units.js';
import { heapMemory } from '../../../src/io/memory.js';
import { BufferPool } from '../../../src/io/pool.js';
import { RegionSummer } from '../../../src/ost/checksums/region-summer.js';
import { epochOfSums, sumsKey } from '../../../src/ost/checksums/sum-record.js';
import { ChunkState } from '../../../src/ost/chunk-file.js';
import { OstCore } from '../../../src/ost/core.js';
import { Records } from '../../../src/ost/records.js';
import { DEFAULT_TUNING } from '../../../src/ost/tuning.js';
import { ChunkOp, Opcode } from '../../../src/protocol/index.js';
import { SimDisk } from '../../sim/disk.js';
import { SimProcess } from '../../sim/process.js';
import { SimStorage, SimStore } from '../../sim/storage.js';
import { outsideReactions, World } from '../../sim/world.js';
import { objectRecord } from './support.js';

/** Checksums that are taken at the very moment at which a copy makes the file of its chunk. */

const RECORD = objectRecord(1, { chunkSizeBytes: MiB, sizeBytes: MiB });
const BLOCK = 4096;

class Rig {
  readonly world = new World(3);
  readonly disk = new SimDisk(this.world, 'ost');
  process!: SimProcess;
  core!: OstCore;

  start(): void {
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
    const tuning = { ...DEFAULT_TUNING, reserveBytes: 0 };
    this.core = new OstCore(
      '01900000-0000-7000-8000-0000000000ff',
      env,
      new SimStorage(this.disk, process),
      records,
      tuning,
    );
    this.finish(this.core.open());
  }

  finish<T>(work: Promise<T>): T {
    let done: { value: T } | null = null;
    work.then((value) => {
      done = { value };
    });
    this.world.run(() => done !== null, 60_000, 'work');
    return done!.value;
  }

  attach(epoch: number) {
    const holder = { sessions: new Set<never>(), gone: false };
    return this.finish(this.core.attach(RECORD, epoch, 1, holder as never));
  }

  begin(session: ReturnType<Rig['attach']>, opcode: number, tag: number, byte: number) {
    const memory = heapMemory(BLOCK);
    memory.bytes.fill(byte);
    const outcome = { status: -1, memory };
    const op = new ChunkOp({
      chunkDone: () => {
        outcome.status = op.status;
      },
    });
    const { handle, epoch: sessionEpoch, number: sessionNumber } = session;
    const range = { chunk: 0, chunkVersion: 1, offset: 0, length: BLOCK };
    Object.assign(op, { opcode, tag, handle, sessionEpoch, sessionNumber, ...range });
    op.slices.add(memory, 0, BLOCK);
    this.core.submit(op, session.holder);
    return outcome;
  }
}

test('what they sign is given up before anything is written', () =>
  outsideReactions(() => {
    const rig = new Rig();
    rig.start();
    const { world } = rig;
    const session = rig.attach(9);
    const { object } = session;
    rig.core.sealed(object, 8);
    // Older than the seal, as what a copy brings.
    const written = rig.begin(session, Opcode.WRITE, 5, 0x55);
    const chunk = rig.core.chunks.chunk(object, 0, 1);
    world.run(() => chunk.state === ChunkState.CREATING, 1000, 'the file is being made');
    const summer = new RegionSummer(rig.core, rig.core.checksums!);
    expect(rig.finish(summer.sum(chunk, 0, object.lastSeal, async () => {}))).toBe('summed');
    world.run(() => written.status >= 0, 60_000, 'the write');
    expect(written.status).toBe(0);
    const stored = rig.disk.records.get(sumsKey(object.key, 0, 1, 0).toString('hex'));
    expect(stored === undefined ? 0 : epochOfSums(stored)).not.toBe(5);
    // Killed: the next process trusts what is on record, and finds nothing wrong.
    rig.process.kill();
    rig.start();
    const read = rig.begin(rig.attach(10), Opcode.READ, 0, 0);
    rig.world.run(() => read.status >= 0, 60_000, 'the read');
    expect(read.status).toBe(0);
    expect(read.memory.bytes.every((byte) => byte === 0x55)).toBe(true);
  }));
