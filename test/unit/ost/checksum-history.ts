import { ERROR_CODES } from '../../../src/common/errors.js';
import { silentLogger } from '../../../src/common/log.js';
import { MiB } from '../../../src/common/units.js';
import { heapMemory } from '../../../src/io/memory.js';
import { BufferPool } from '../../../src/io/pool.js';
import type { Io } from '../../../src/io/types.js';
import { epochOfSums, sumsKey } from '../../../src/ost/checksums/sum-record.js';
import { OstCore } from '../../../src/ost/core.js';
import { setChange } from '../../../src/ost/record-changes.js';
import { damageKey, decodeRegions, regionsKey } from '../../../src/ost/record-codec.js';
import { Records } from '../../../src/ost/records.js';
import type { Session, SessionHolder } from '../../../src/ost/session.js';
import { DEFAULT_TUNING } from '../../../src/ost/tuning.js';
import { ChunkOp, type ObjectRecord, Opcode } from '../../../src/protocol/index.js';
import { type FileData, BLOCK as PAGE, SimDisk } from '../../sim/disk.js';
import { SimProcess } from '../../sim/process.js';
import { SimStorage, SimStore } from '../../sim/storage.js';
import { World } from '../../sim/world.js';
import { objectRecord } from './support.js';

const CHUNKS = 2;
const CHUNK_BYTES = MiB;
const BLOCK = 4096;
const SECTOR = 512;
const CHECKSUM = ERROR_CODES.CHECKSUM.wire;
const STALE_SESSION = ERROR_CODES.STALE_SESSION.wire;
const OST_ID = '01900000-0000-7000-8000-0000000000ff';
const RECORD: ObjectRecord = objectRecord(1, {
  name: 'v',
  sizeBytes: CHUNKS * CHUNK_BYTES - 1536,
  chunkSizeBytes: CHUNK_BYTES,
});

interface Range {
  chunk: number;
  offset: number;
  length: number;
}

/** A bit that was flipped in a block that had a checksum. */
interface Flip {
  readonly chunk: number;
  readonly block: number;
  /** False once the OST may have forgotten that the block was not changed: it may find it, or take it for right. */
  must: boolean;
  /**
   * Its block was written as a whole, or in part before the OST knew of it: what answered before may still say that it is bad.
   */
  gone: boolean;
  recorded?: boolean;
  readonly page: number;
  readonly bytes: Buffer;
}

/**
 * A random life of one OST on a simulated disk: a writer that never has overlapping operations in flight, seals, kills,
 * power losses, failing syncs, and bits flipped in blocks whose checksum is on record. What a read must answer is known
 * from the disk itself: its content without the flips.
 */
export class ChecksumHistory {
  readonly world: World;
  readonly counts: Record<string, number> = {};
  private readonly disk: SimDisk;
  private process!: SimProcess;
  private core!: OstCore;
  private session!: Session;
  private holder!: SessionHolder;
  private epoch = 1;
  private lastSeal = 0;
  private number = 0;
  private readonly inFlight = new Set<Range>();
  private flips: Flip[] = [];
  /** Of these nobody knows any more that they were bad. */
  private healed: Flip[] = [];
  /** Pages of epochs and sums leave memory early, and with them which blocks were changed. */
  private forgetful = false;

  constructor(seed: number) {
    this.world = new World(seed);
    this.disk = new SimDisk(this.world, 'ost');
  }

  /** @throws Violation */
  run(steps: number): void {
    this.start();
    for (let i = 0; i < steps; i++) this.step();
    this.settle();
    this.quiesce();
  }

  private count(what: string): void {
    this.counts[what] = (this.counts[what] ?? 0) + 1;
  }

  private step(): void {
    const { world } = this;
    const dice = world.random.next();
    if (dice < 0.35) this.change(Opcode.WRITE);
    else if (dice < 0.4) this.change(Opcode.ERASE);
    else if (dice < 0.6) this.read();
    else if (dice < 0.66) this.pass(world.between(0, 20));
    else if (dice < 0.75) this.seal();
    else if (dice < 0.84) this.rest();
    else if (dice < 0.93) this.flip();
    else if (dice < 0.95) this.scrub();
    else if (dice < 0.975) this.crash(world.chance(0.5));
    else if (dice < 0.98) this.disk.failSyncs++;
    else if (dice < 0.99) this.disk.slowUntilMs = world.nowMs + world.between(0, 4000);
    else this.settle();
  }

  /** Time for checksums to be taken, in which a change comes now and then. */
  private rest(): void {
    for (let i = this.world.random.below(8); i >= 0; i--) {
      this.pass(this.world.between(100, 1200));
      if (this.world.chance(0.15)) this.change(Opcode.WRITE);
    }
  }

  private start(): void {
    const process = new SimProcess(this.world, 'ost');
    this.process = process;
    const io: Io = {
      ...process.io,
      kind: 'sim',
      schedule: process.io.schedule,
      // Of its own: what a killed process held of it is gone with it.
      pool: new BufferPool(heapMemory(4 * MiB)),
    };
    const env = {
      io,
      clock: process.clock,
      log: silentLogger,
      kernelBootId: this.disk.kernelBootId,
      dirtyCounters: () => '',
      onFatal: () => this.world.fail('the loss cannot be recorded'),
    };
    this.forgetful = this.world.chance(0.3);
    const tuning = {
      ...DEFAULT_TUNING,
      reserveBytes: 0,
      sumDelayMs: 500,
      // Slow, so that changes come in the middle.
      sumBytesPerSec: MiB,
      scrubPeriodMs: 10_000,
      sumCacheRegions: this.forgetful ? 1 : 64,
      regionPages: this.forgetful ? 1 : 64,
    };
    const records = new Records(new SimStore(this.disk, process));
    this.core = new OstCore(OST_ID, env, new SimStorage(this.disk, process), records, tuning);
    const { core } = this;
    process.clock.every(100, () => core.regions.tick++);
    this.complete(core.open(), 'start');
    core.integrity!.start();
    this.attach();
  }

  private attach(): void {
    this.holder = { sessions: new Set(), gone: false };
    this.epoch++;
    this.number = 1;
    const record = { ...RECORD, epoch: this.epoch, lastSeal: this.lastSeal };
    this.session = this.complete(
      this.core.attaching.attach(record, this.epoch, this.number, this.holder),
      'attach',
    );
  }

  /** A range that no operation in flight overlaps, or null. */
  private range(maxBytes: number): Range | null {
    const { random } = this.world;
    const chunk = random.below(CHUNKS);
    const size = Math.min(CHUNK_BYTES, RECORD.sizeBytes - chunk * CHUNK_BYTES);
    // Few blocks, so that things meet; the last ones too, where the object ends in the middle of a block.
    const aligned = this.world.chance(0.6);
    const unit = aligned ? BLOCK : SECTOR;
    const room = 12 * BLOCK;
    const start = this.world.chance(0.3) ? size - room - (size % BLOCK) : 0;
    const offset = start + random.below(room / unit) * unit;
    const length = Math.min((1 + random.below(maxBytes / unit)) * unit, size - offset);
    const range = { chunk, offset, length };
    if (length <= 0) return null;
    for (const other of this.inFlight) {
      const apart = other.offset + other.length <= offset || offset + length <= other.offset;
      if (other.chunk === chunk && !apart) return null;
    }
    return range;
  }

  private change(opcode: number): void {
    const range = this.range(opcode === Opcode.ERASE ? 64 * BLOCK : 6 * BLOCK);
    if (range === null) return;
    this.count('changes');
    const healed = this.flips.filter((flip) => this.isListed(flip) && covers(range, flip));
    const op = this.operation(opcode, range, (status) => {
      this.inFlight.delete(range);
      if (status === 0) this.healed.push(...healed);
      if (status === 0) for (const flip of this.flips) this.changed(range, flip);
      if (status !== 0 && status !== STALE_SESSION) this.world.fail(`a change was answered ${status}`);
    });
    // What is older than the region is what a copy brings.
    op.tag = this.world.chance(0.25) ? 1 + this.world.random.below(this.epoch) : this.epoch;
    if (opcode === Opcode.WRITE) {
      const memory = heapMemory(range.length);
      memory.bytes.fill(this.world.chance(0.1) ? 0 : 1 + this.world.random.below(255));
      op.slices.add(memory, 0, range.length);
    }
    for (const flip of this.flips) {
      // Until the whole of it is written what is known to be bad stays so.
      if (this.isListed(flip) && !covers(range, flip)) continue;
      if (touches(range, flip) || (this.forgetful && flip.chunk === range.chunk)) flip.must = false;
    }
    this.inFlight.add(range);
    this.core.submit(op, this.holder);
  }

  private changed(range: Range, flip: Flip): void {
    if (!touches(range, flip)) return;
    if (this.isListed(flip) && !covers(range, flip)) {
      flip.must = true;
      this.count('written in part');
    } else flip.gone = true;
  }

  private isListed({ chunk, block }: Flip): boolean {
    const listed = this.core.damage.list(RECORD.id, 4096);
    return listed.some((bad) => bad.chunk === chunk && bad.offset === block * BLOCK);
  }

  private read(range = this.range(10 * BLOCK)): void {
    if (range === null) return;
    this.count('reads');
    const memory = heapMemory(range.length);
    const op = this.operation(Opcode.READ, range, (status) => {
      this.inFlight.delete(range);
      if (status === STALE_SESSION) return;
      this.judge(range, status, op.tag, memory.bytes);
    });
    // In two pieces, of which one ends in the middle of a block.
    const cut = this.world.random.below(range.length);
    if (cut > 0) op.slices.add(memory, 0, cut);
    op.slices.add(memory, cut, range.length - cut);
    this.inFlight.add(range);
    this.core.submit(op, this.holder);
  }

  private judge(range: Range, status: number, tag: number, bytes: Buffer): void {
    const flipped = this.flips.filter((flip) => touches(range, flip));
    const where = `${range.chunk}:${range.offset}+${range.length}`;
    if (status === CHECKSUM) {
      const named = flipped.some(({ block }) => block * BLOCK === tag);
      if (!named) this.world.fail(`false alarm at ${tag}, read ${where}`);
      this.count('found');
      return;
    }
    if (status !== 0) return this.world.fail(`a read was answered ${status}`);
    if (flipped.some(({ must }) => must))
      return this.world.fail(`a flipped bit was not found, read ${where}`);
    if (!bytes.equals(this.content(range))) this.world.fail(`wrong bytes, read ${where}`);
  }

  private operation(opcode: number, range: Range, done: (status: number) => void): ChunkOp {
    const op = new ChunkOp({ chunkDone: () => done(op.status) });
    const { handle, epoch: sessionEpoch, number: sessionNumber } = this.session;
    return Object.assign(op, { opcode, handle, sessionEpoch, sessionNumber, tag: this.epoch, ...range });
  }

  /** Everything answered, then flushed; then the OST is told. */
  private seal(): void {
    this.settle();
    if (!this.flush()) return this.attach();
    this.count('seals');
    this.lastSeal = this.epoch;
    this.epoch++;
    const { core, session } = this;
    const marked = this.world.chance(0.5)
      ? core.intents.mark([...session.object.chunks.values()], this.epoch)
      : Promise.resolve();
    const set = { epoch: this.epoch, members: [] };
    const stored = core.commit([setChange(RECORD.id, { set, lastSeal: this.lastSeal })]);
    this.complete(Promise.all([stored, marked]), 'seal');
    core.sealed(session.object, this.lastSeal);
  }

  private flush(): boolean {
    let status = -1;
    const op = this.operation(Opcode.FLUSH, { chunk: 0, offset: 0, length: 0 }, (answered) => {
      status = answered;
    });
    this.core.submit(op, this.holder);
    this.world.run(() => status >= 0, 60_000, 'flush');
    return status === 0;
  }

  private crash(powerLoss: boolean): void {
    this.count(powerLoss ? 'power losses' : 'kills');
    this.process.kill();
    this.inFlight.clear();
    // Which blocks were changed is forgotten: a region is protected by a record that is as new as it, or not at all.
    // Unless the block is on record as bad.
    const { key } = this.core.object(RECORD.id, null);
    for (const flip of this.flips) {
      if (this.stored(damageKey(key, flip.chunk, 1, flip.block)) === undefined) continue;
      this.count('on record');
      Object.assign(flip, { must: true, gone: false, recorded: true });
    }
    this.forgetFlips(({ chunk, recorded }) => recorded !== true && !this.isProtected(chunk));
    for (const flip of this.flips) flip.recorded = false;
    if (powerLoss) {
      this.disk.powerLoss();
      for (const { chunk, page, bytes } of this.healed) {
        const file = this.disk.files.get(`${RECORD.id}/${chunk}.1`);
        if (file?.durable.get(page)?.equals(bytes))
          this.world.fail(`damage of chunk ${chunk} is back, unknown`);
      }
    }
    this.healed = [];
    this.start();
  }

  private flip(): void {
    this.settle();
    const { world } = this;
    const { random } = world;
    const chunk = random.below(CHUNKS);
    const file = this.disk.files.get(`${RECORD.id}/${chunk}.1`);
    if (!this.isProtected(chunk) || file === undefined) return;
    const block = random.below(16);
    const page = (block * BLOCK) / PAGE + random.below(BLOCK / PAGE);
    if (block * BLOCK >= file.sizeBytes || isDirty(file, block)) return;
    if (this.flips.some((flip) => flip.chunk === chunk && flip.block === block)) return;
    this.count('flips');
    const after = Buffer.from(file.cached.get(page) ?? Buffer.alloc(PAGE));
    after[random.below(PAGE)]! ^= 1 << random.below(8);
    file.cached.set(page, after);
    file.durable.set(page, after);
    this.flips.push({ chunk, block, must: true, gone: false, page, bytes: after });
    // All of it, or a sector that need not be the one.
    const part = SECTOR * random.below(8);
    const range = world.chance(0.5)
      ? { chunk, offset: block * BLOCK, length: BLOCK }
      : { chunk, offset: block * BLOCK + part, length: SECTOR };
    if (world.chance(0.7)) this.read(range);
  }

  private scrub(): void {
    this.settle();
    this.count('scrubs');
    const { scrubs } = this.core.integrity!;
    const { damage } = this.core;
    this.complete(scrubs.begin(RECORD.id, 64 * MiB, this.holder), 'scrub');
    this.world.run(() => !scrubs.job!.running, 60_000, 'scrub');
    // A change that began meanwhile takes its block out of the flips and off the list alike.
    const listed = damage.list(RECORD.id, 4096).map(({ chunk, offset }) => `${chunk}:${offset / BLOCK}`);
    for (const { chunk, block, must } of this.flips) {
      if (must && !listed.includes(`${chunk}:${block}`))
        this.world.fail(`scrub missed block ${block} of chunk ${chunk}`);
    }
    if (scrubs.job!.badBlocks > this.flips.length) this.world.fail('scrub found more than there is');
    if (scrubs.job!.failure !== '') this.world.fail(`scrub: ${scrubs.job!.failure}`);
  }

  /** After a last seal and some rest every region has its checksums, and every block still can be read or is told. */
  private quiesce(): void {
    this.disk.failSyncs = 0;
    this.seal();
    this.seal();
    for (const chunk of [0, 1])
      this.forgetFlips((flip) => flip.chunk === chunk && !this.disk.files.has(`${RECORD.id}/${chunk}.1`));
    this.pass(120_000);
    for (let chunk = 0; chunk < CHUNKS; chunk++) {
      if (
        this.regionEpoch(chunk) > 0 &&
        this.regionEpoch(chunk) <= this.lastSeal &&
        !this.isProtected(chunk)
      ) {
        this.world.fail(`chunk ${chunk} has no checksums after all`);
      }
    }
    this.scrub();
  }

  /** By the records alone: a restart would trust its checksums. */
  private isProtected(chunk: number): boolean {
    const epoch = this.regionEpoch(chunk);
    const value = this.stored(sumsKey(this.core.object(RECORD.id, null).key, chunk, 1, 0));
    return epoch > 0 && value !== undefined && epochOfSums(value) === epoch;
  }

  private regionEpoch(chunk: number): number {
    const value = this.stored(regionsKey(this.core.object(RECORD.id, null).key, chunk, 1, 0));
    const epochs = new Float64Array(256);
    if (value !== undefined) decodeRegions(value, epochs);
    return epochs[0]!;
  }

  private stored(key: Buffer): Buffer | undefined {
    return this.disk.records.get(key.toString('hex'));
  }

  /** What the file holds, without the flips. */
  private content({ chunk, offset, length }: Range): Buffer {
    const file = this.disk.files.get(`${RECORD.id}/${chunk}.1`);
    const pages: Buffer[] = [];
    const first = Math.floor(offset / PAGE);
    for (let page = first; page * PAGE < offset + length; page++) {
      pages.push(file?.cached.get(page) ?? Buffer.alloc(PAGE));
    }
    return Buffer.concat(pages).subarray(offset - first * PAGE, offset - first * PAGE + length);
  }

  private forgetFlips(which: (flip: Flip) => boolean): void {
    this.flips = this.flips.filter((flip) => !which(flip));
  }

  private pass(forMs: number): void {
    const untilMs = this.world.nowMs + forMs;
    this.process.later(forMs, '', () => {});
    this.world.run(() => this.world.nowMs >= untilMs, forMs + 1, 'time');
  }

  /** Everything is answered. */
  private settle(): void {
    this.world.run(() => this.inFlight.size === 0, 60_000, 'answers');
    this.forgetFlips(({ gone }) => gone);
  }

  private complete<T>(work: Promise<T>, what: string): T {
    let outcome: { value: T } | { error: unknown } | null = null;
    work.then(
      (value) => {
        outcome = { value };
      },
      (error) => {
        outcome = { error };
      },
    );
    this.world.run(() => outcome !== null, 120_000, what);
    const over = outcome as unknown as { value: T } | { error: unknown };
    if ('error' in over) throw over.error;
    return over.value;
  }
}

function touches(range: Range, flip: Flip): boolean {
  const start = flip.block * BLOCK;
  return flip.chunk === range.chunk && start < range.offset + range.length && range.offset < start + BLOCK;
}

/** The last block of a chunk may be cut by the end of the object. */
function covers(range: Range, flip: Flip): boolean {
  const start = flip.block * BLOCK;
  const end = Math.min(start + BLOCK, RECORD.sizeBytes - flip.chunk * CHUNK_BYTES);
  return flip.chunk === range.chunk && range.offset <= start && end <= range.offset + range.length;
}

function isDirty(file: FileData, block: number): boolean {
  const first = (block * BLOCK) / PAGE;
  for (let page = first; page < first + BLOCK / PAGE; page++) if (file.dirty.has(page)) return true;
  return false;
}
