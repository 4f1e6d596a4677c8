import type { Clock } from '../../common/clock.js';
import { asRawstorError, RawstorError } from '../../common/errors.js';
import { LIMITS } from '../../common/limits.js';
import type { Logger } from '../../common/log.js';
import type { ChunkFile } from '../chunk-file.js';
import { damageKey, RecordType, singleKey } from '../record-codec.js';
import type { Records } from '../records.js';
import type { Change } from '../store.js';
import { type DamageEntry, DamageList, isWithin } from './damage-list.js';
import { decodeDamage, encodeSum } from './damage-record.js';
import { SUM_BLOCK_BYTES } from './sum-record.js';

export interface DamagedBlock {
  objectId: string;
  chunk: number;
  chunkVersion: number;
  /** Of the block in its chunk. */
  offset: number;
  /** Checksum of what was written; null where that is not known. */
  sum: number | null;
}

export interface DamageOwner {
  /** A block is found that was not known: who can repair it should be told. */
  damageFound(chunk: ChunkFile): void;
  /** A block known to be bad has been written anew. */
  damageRepaired(chunk: ChunkFile, offset: number): void;
}

export interface DamageTotals {
  foundTotal: number;
  repairedTotal: number;
}

const LOADED_AT_ONCE = 1024;
/** After a disk has failed to give a block; longer than a resync pauses between its tries. */
const UNREADABLE_RETRY_MS = 120_000;

/**
 * The blocks known not to be what was written: of those nothing is given out, whatever checksums say or do not say of
 * them, until they are written as a whole. On record, because checksums are not there when they are needed: they
 * are given up with the next change of the region, and what another OST could not give has none.
 */
export class Damage {
  foundTotal = 0;
  repairedTotal = 0;
  /** Where checksums are kept. */
  owner: DamageOwner | null = null;
  private readonly log: Logger;
  private readonly clock: Clock;
  private readonly records: Records;
  private readonly commit: (changes: readonly Change[]) => Promise<void>;
  private readonly known = new DamageList();
  private readonly ofObject = new Map<string, DamageTotals>();

  constructor(
    log: Logger,
    clock: Clock,
    records: Records,
    commit: (changes: readonly Change[]) => Promise<void>,
  ) {
    this.log = log;
    this.clock = clock;
    this.records = records;
    this.commit = commit;
  }

  /** Blocks on the list. */
  get count(): number {
    return this.known.count;
  }

  /** What earlier processes found. */
  load(): void {
    let from = singleKey(RecordType.DAMAGE);
    for (;;) {
      const pairs = this.records.damage(from, LOADED_AT_ONCE);
      for (const { key, value } of pairs) {
        const { objectId, chunk, version, block, sum } = decodeDamage(key, value);
        this.known.entry(objectId, chunk, version).blocks.set(block, sum);
        this.known.count++;
      }
      if (pairs.length < LOADED_AT_ONCE) return;
      from = Buffer.concat([pairs.at(-1)!.key, Buffer.alloc(1)]);
    }
  }

  /** `sum` is what its checksum should be. On record soon: until then the checksum tells of it again. */
  found(chunk: ChunkFile, block: number, sum: number | null): void {
    if (this.isBad(chunk, block)) return;
    const offset = block * SUM_BLOCK_BYTES;
    this.noted(chunk);
    this.log.error({ chunk: chunk.where, offset }, 'a block is not what was written: its checksum is wrong');
    if (this.count < LIMITS.damagedBlocks) {
      this.add(chunk, block, sum).catch((error) =>
        this.log.warn({ reason: asRawstorError(error).message }, 'damage is not on record'),
      );
    }
    this.owner?.damageFound(chunk);
  }

  /** What nobody could give is not to be read here; on record when resolved. @throws RawstorError LIMIT */
  async keep(chunk: ChunkFile, block: number, sum: number | null): Promise<void> {
    if (this.count >= LIMITS.damagedBlocks) {
      throw new RawstorError('LIMIT', `more than ${LIMITS.damagedBlocks} damaged blocks are not kept`, {
        where: chunk.where,
      });
    }
    this.noted(chunk);
    this.log.error({ chunk: chunk.where, offset: block * SUM_BLOCK_BYTES }, 'a block is damaged everywhere');
    const added = this.add(chunk, block, sum);
    this.owner?.damageFound(chunk);
    await added;
  }

  /**
   * The disk does not give it, not by itself either. Not put on record: the disk says it again, and once a cable or a controller is
   * well what it gives is right as far as the checksum says. `retryMs`: for so long nobody asks the disk again.
   */
  cannotRead(chunk: ChunkFile, block: number, sum: number | null, retryMs = UNREADABLE_RETRY_MS): void {
    const retryAtMs = this.clock.nowMs() + retryMs;
    const isNew = !this.isBad(chunk, block);
    if (isNew) {
      this.noted(chunk);
      this.log.error({ chunk: chunk.where, offset: block * SUM_BLOCK_BYTES }, 'the disk cannot read a block');
    }
    if (!isNew || this.count < LIMITS.damagedBlocks) {
      const { blocks, unreadable } = this.known.entry(chunk.object.record.id, chunk.chunk, chunk.version);
      const onRecord = unreadable.get(block)?.onRecord ?? !isNew;
      if (isNew) {
        blocks.set(block, sum);
        this.known.count++;
      }
      unreadable.set(block, { retryAtMs, onRecord });
    }
    if (isNew) this.owner?.damageFound(chunk);
  }

  /** The disk has given it: it is for its checksum, and for what is on record, to say whether it is right. */
  canRead(chunk: ChunkFile, block: number): void {
    if (this.count === 0) return;
    const entry = this.entry(chunk);
    const was = entry?.unreadable.get(block);
    if (entry === undefined || was === undefined) return;
    entry.unreadable.delete(block);
    if (was.onRecord) return;
    this.known.remove(chunk.object.record.id, entry, block);
    const offset = block * SUM_BLOCK_BYTES;
    this.log.warn({ chunk: chunk.where, offset }, 'a block that the disk could not read can be read again');
    this.owner?.damageRepaired(chunk, offset);
  }

  /** Offset in the chunk of the first block of a range that the disk need not be asked for now; -1 where there is none. */
  firstUnreadable(chunk: ChunkFile, offset: number, length: number): number {
    if (this.count === 0) return -1;
    const unreadable = this.entry(chunk)?.unreadable;
    if (unreadable === undefined || unreadable.size === 0) return -1;
    const nowMs = this.clock.nowMs();
    return this.firstIn(chunk, offset, length, (block) => (unreadable.get(block)?.retryAtMs ?? 0) > nowMs);
  }

  /** Known to be bad for good, whatever the disk gives. */
  isOnRecord(chunk: ChunkFile, block: number): boolean {
    const entry = this.entry(chunk);
    return entry?.blocks.has(block) === true && entry.unreadable.get(block)?.onRecord !== false;
  }

  isBad(chunk: ChunkFile, block: number): boolean {
    return this.entry(chunk)?.blocks.has(block) === true;
  }

  /** Adds the bad blocks of a range that are not in `into` yet; quick where there is none. */
  addIn(chunk: ChunkFile, offset: number, length: number, into: number[]): void {
    const entry = this.entry(chunk);
    if (entry === undefined) return;
    const first = Math.floor(offset / SUM_BLOCK_BYTES);
    const end = Math.ceil((offset + length) / SUM_BLOCK_BYTES);
    for (const block of entry.blocks.keys()) {
      if (block >= first && block < end && !into.includes(block)) into.push(block);
    }
  }

  /** Offset in the chunk of the first bad block of a range, -1 where there is none. */
  firstIn(
    chunk: ChunkFile,
    offset: number,
    length: number,
    counts: (block: number) => boolean = () => true,
  ): number {
    if (this.count === 0) return -1;
    const blocks: number[] = [];
    this.addIn(chunk, offset, length, blocks);
    const first = Math.min(...blocks.filter(counts));
    return first === Number.POSITIVE_INFINITY ? -1 : first * SUM_BLOCK_BYTES;
  }

  /** A change of the range writes some bad block as a whole: `heal` is to follow when it is durable. */
  isHealedBy(chunk: ChunkFile, offset: number, length: number): boolean {
    if (this.count === 0) return false;
    return this.covered(chunk, offset, length).length > 0;
  }

  /**
   * What lies in the range as a whole is new, and durable: a power loss must not bring back what was there before
   * without the record that it is bad.
   */
  async heal(chunk: ChunkFile, offset: number, length: number): Promise<void> {
    const healed = this.covered(chunk, offset, length);
    await this.commit(healed.map((block) => ({ key: this.key(chunk, block), value: null })));
    for (const block of healed) {
      const entry = this.entry(chunk);
      if (entry === undefined) return;
      this.known.remove(chunk.object.record.id, entry, block);
      this.repairedTotal++;
      this.totalsOf(chunk).repairedTotal++;
      const at = block * SUM_BLOCK_BYTES;
      this.log.warn({ chunk: chunk.where, offset: at }, 'a damaged block has been written anew');
      this.owner?.damageRepaired(chunk, at);
    }
  }

  /** Looked at again, and right. */
  cleared(chunk: ChunkFile, block: number): void {
    const entry = this.entry(chunk);
    if (entry?.blocks.has(block) !== true) return;
    this.known.remove(chunk.object.record.id, entry, block);
    this.commit([{ key: this.key(chunk, block), value: null }]).catch((error) =>
      this.log.warn({ reason: asRawstorError(error).message }, 'the record of damage stays'),
    );
  }

  /** What is known of one object, or of all, at most `limit`. */
  list(objectId: string | null, limit: number): DamagedBlock[] {
    const found: DamagedBlock[] = [];
    for (const { objectId: id, chunk, version, blocks } of this.known.entries(objectId)) {
      for (const [block, sum] of blocks) {
        if (found.length === limit) return found;
        const offset = block * SUM_BLOCK_BYTES;
        found.push({ objectId: id, chunk, chunkVersion: version, offset, sum });
      }
    }
    return found;
  }

  /** Of one object, or of all. */
  totals(objectId: string | null): DamageTotals {
    if (objectId === null) return { foundTotal: this.foundTotal, repairedTotal: this.repairedTotal };
    return { ...(this.ofObject.get(objectId) ?? { foundTotal: 0, repairedTotal: 0 }) };
  }

  /** The object goes, its records with it. */
  forget(objectId: string): void {
    this.ofObject.delete(objectId);
    this.known.forget(objectId);
  }

  /** One version of a chunk is gone, its records with it. */
  forgetVersion(chunk: ChunkFile): void {
    const entry = this.entry(chunk);
    if (entry === undefined) return;
    for (const block of [...entry.blocks.keys()]) this.known.remove(chunk.object.record.id, entry, block);
  }

  private noted(chunk: ChunkFile): void {
    this.foundTotal++;
    this.totalsOf(chunk).foundTotal++;
  }

  private add(chunk: ChunkFile, block: number, sum: number | null): Promise<void> {
    const { blocks, unreadable } = this.known.entry(chunk.object.record.id, chunk.chunk, chunk.version);
    if (!blocks.has(block)) this.known.count++;
    const gone = unreadable.get(block);
    if (gone !== undefined) gone.onRecord = true;
    blocks.set(block, sum);
    return this.commit([{ key: this.key(chunk, block), value: encodeSum(sum) }]);
  }

  /** Bad blocks of which nothing is left by a change of the range. */
  private covered(chunk: ChunkFile, offset: number, length: number): number[] {
    const blocks = [...(this.entry(chunk)?.blocks.keys() ?? [])];
    // The last block of a chunk file may be written as far as the object goes.
    const objectEnd = chunk.object.record.sizeBytes - chunk.chunk * chunk.sizeBytes;
    return blocks.filter((block) => isWithin(block, objectEnd, offset, length));
  }

  private totalsOf(chunk: ChunkFile): DamageTotals {
    const { id } = chunk.object.record;
    const totals = this.ofObject.get(id) ?? { foundTotal: 0, repairedTotal: 0 };
    this.ofObject.set(id, totals);
    return totals;
  }

  private entry({ object, chunk, version }: ChunkFile): DamageEntry | undefined {
    return this.known.find(object.record.id, chunk, version);
  }

  private key({ object, chunk, version }: ChunkFile, block: number): Buffer {
    return damageKey(object.key, chunk, version, block);
  }
}
