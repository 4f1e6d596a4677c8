import { SUM_BLOCK_BYTES } from './sum-record.js';

/** Bad blocks of one version of a chunk, with what their checksums should be where that is known. */
export interface DamageEntry {
  readonly objectId: string;
  readonly chunk: number;
  readonly version: number;
  readonly blocks: Map<number, number | null>;
  /** Of these, the ones that the disk did not give when they were last asked for. */
  readonly unreadable: Map<number, Unreadable>;
}

interface Unreadable {
  /** Answered from memory until then: a disk may take seconds to find that it cannot. */
  retryAtMs: number;
  /** It was known to be bad before. */
  onRecord: boolean;
}

/** Damaged blocks in memory, by object and chunk. */
export class DamageList {
  /** Blocks in all of it. */
  count = 0;
  private readonly objects = new Map<string, Map<string, DamageEntry>>();

  find(objectId: string, chunk: number, version: number): DamageEntry | undefined {
    return this.objects.get(objectId)?.get(`${chunk}.${version}`);
  }

  /** Made where there is none. */
  entry(objectId: string, chunk: number, version: number): DamageEntry {
    const known = this.find(objectId, chunk, version);
    if (known !== undefined) return known;
    const chunks = this.objects.get(objectId) ?? new Map<string, DamageEntry>();
    this.objects.set(objectId, chunks);
    const entry: DamageEntry = { objectId, chunk, version, blocks: new Map(), unreadable: new Map() };
    chunks.set(`${chunk}.${version}`, entry);
    return entry;
  }

  remove(objectId: string, entry: DamageEntry, block: number): void {
    entry.unreadable.delete(block);
    if (!entry.blocks.delete(block)) return;
    this.count--;
    if (entry.blocks.size > 0) return;
    const chunks = this.objects.get(objectId)!;
    chunks.delete(`${entry.chunk}.${entry.version}`);
    if (chunks.size === 0) this.objects.delete(objectId);
  }

  /** Of one object, or of all. */
  *entries(objectId: string | null): Generator<DamageEntry> {
    const ids = objectId === null ? [...this.objects.keys()] : [objectId];
    for (const id of ids) yield* this.objects.get(id)?.values() ?? [];
  }

  forget(objectId: string): void {
    for (const { blocks } of this.entries(objectId)) this.count -= blocks.size;
    this.objects.delete(objectId);
  }
}

/** Whether nothing is left of a block by a change of the range, in a chunk in which the object ends at `objectEnd`. */
export function isWithin(block: number, objectEnd: number, offset: number, length: number): boolean {
  const start = block * SUM_BLOCK_BYTES;
  const whole = start + SUM_BLOCK_BYTES;
  const end = start < objectEnd ? Math.min(whole, objectEnd) : whole;
  return start >= offset && end <= offset + length;
}
