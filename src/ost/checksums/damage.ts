import { LIMITS } from '../../common/limits.js';
import type { Logger } from '../../common/log.js';
import type { ChunkFile } from '../chunk-file.js';
import { SUM_BLOCK_BYTES } from './sum-record.js';

export interface DamagedBlock {
  objectId: string;
  chunk: number;
  chunkVersion: number;
  /** Of the block in its chunk. */
  offset: number;
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

interface Entry {
  readonly chunk: number;
  readonly version: number;
  readonly offsets: Set<number>;
}

/**
 * The blocks known not to be what was written. Kept in memory: after a restart the next read or scrub finds them
 * again. Counters are since the start.
 */
export class Damage {
  /** Blocks on the list. */
  count = 0;
  foundTotal = 0;
  repairedTotal = 0;
  private readonly log: Logger;
  private readonly owner: DamageOwner;
  private readonly objects = new Map<string, Map<string, Entry>>();
  private readonly ofObject = new Map<string, DamageTotals>();

  constructor(log: Logger, owner: DamageOwner) {
    this.log = log;
    this.owner = owner;
  }

  found(chunk: ChunkFile, block: number): void {
    const offset = block * SUM_BLOCK_BYTES;
    if (this.entry(chunk)?.offsets.has(offset)) return;
    this.foundTotal++;
    this.counted(chunk).foundTotal++;
    this.log.error({ chunk: chunk.where, offset }, 'a block is not what was written: its checksum is wrong');
    if (this.count < LIMITS.damagedBlocks) {
      this.makeEntry(chunk).offsets.add(offset);
      this.count++;
    }
    this.owner.damageFound(chunk);
  }

  /** A range has been written: what lies in it as a whole is new. */
  changed(chunk: ChunkFile, offset: number, length: number): void {
    const entry = this.entry(chunk);
    if (entry === undefined) return;
    for (const bad of entry.offsets) {
      // The last block of a chunk file may be written as far as the object goes.
      if (bad < offset || Math.min(bad + SUM_BLOCK_BYTES, this.endOf(chunk)) > offset + length) continue;
      this.remove(chunk, entry, bad);
      this.repairedTotal++;
      this.counted(chunk).repairedTotal++;
      this.log.warn({ chunk: chunk.where, offset: bad }, 'a damaged block has been written anew');
      this.owner.damageRepaired(chunk, bad);
    }
  }

  /** Looked at again, and right. */
  cleared(chunk: ChunkFile, block: number): void {
    const entry = this.entry(chunk);
    if (entry?.offsets.has(block * SUM_BLOCK_BYTES)) this.remove(chunk, entry, block * SUM_BLOCK_BYTES);
  }

  /** What is known of one object, or of all, at most `limit`. */
  list(objectId: string | null, limit: number): DamagedBlock[] {
    const found: DamagedBlock[] = [];
    const ids = objectId === null ? [...this.objects.keys()] : [objectId];
    for (const id of ids) {
      for (const { chunk, version, offsets } of this.objects.get(id)?.values() ?? []) {
        for (const offset of offsets) {
          if (found.length === limit) return found;
          found.push({ objectId: id, chunk, chunkVersion: version, offset });
        }
      }
    }
    return found;
  }

  /** Of one object, or of all. */
  totals(objectId: string | null): DamageTotals {
    const { foundTotal, repairedTotal } = this;
    if (objectId === null) return { foundTotal, repairedTotal };
    return { ...(this.ofObject.get(objectId) ?? { foundTotal: 0, repairedTotal: 0 }) };
  }

  forget(objectId: string): void {
    this.ofObject.delete(objectId);
    for (const { offsets } of this.objects.get(objectId)?.values() ?? []) this.count -= offsets.size;
    this.objects.delete(objectId);
  }

  /** One version of a chunk is gone. */
  forgetVersion(objectId: string, chunk: number, version: number): void {
    const chunks = this.objects.get(objectId);
    const entry = chunks?.get(keyOf({ chunk, version }));
    if (chunks === undefined || entry === undefined) return;
    this.count -= entry.offsets.size;
    chunks.delete(keyOf({ chunk, version }));
    if (chunks.size === 0) this.objects.delete(objectId);
  }

  private remove(chunk: ChunkFile, entry: Entry, offset: number): void {
    entry.offsets.delete(offset);
    this.count--;
    if (entry.offsets.size > 0) return;
    const chunks = this.objects.get(chunk.object.record.id)!;
    chunks.delete(keyOf(chunk));
    if (chunks.size === 0) this.objects.delete(chunk.object.record.id);
  }

  private counted(chunk: ChunkFile): DamageTotals {
    const { id } = chunk.object.record;
    const totals = this.ofObject.get(id) ?? { foundTotal: 0, repairedTotal: 0 };
    this.ofObject.set(id, totals);
    return totals;
  }

  private endOf(chunk: ChunkFile): number {
    const { sizeBytes } = chunk.object.record;
    return Math.min(chunk.sizeBytes, sizeBytes - chunk.chunk * chunk.sizeBytes);
  }

  private entry(chunk: ChunkFile): Entry | undefined {
    return this.objects.get(chunk.object.record.id)?.get(keyOf(chunk));
  }

  private makeEntry(chunk: ChunkFile): Entry {
    const known = this.entry(chunk);
    if (known !== undefined) return known;
    const { id } = chunk.object.record;
    const chunks = this.objects.get(id) ?? new Map<string, Entry>();
    this.objects.set(id, chunks);
    const entry = { chunk: chunk.chunk, version: chunk.version, offsets: new Set<number>() };
    chunks.set(keyOf(chunk), entry);
    return entry;
  }
}

function keyOf({ chunk, version }: { chunk: number; version: number }): string {
  return `${chunk}.${version}`;
}
