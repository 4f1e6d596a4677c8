import { asRawstorError } from '../../common/errors.js';
import { LIMITS } from '../../common/limits.js';
import type { BatchTask, Io } from '../../io/types.js';
import { errorOfStatus } from '../../protocol/index.js';
import type { ChunkFile } from '../chunk-file.js';
import type { Records } from '../records.js';
import type { Change } from '../store.js';
import {
  BLOCKS_PER_REGION,
  hasBit,
  LAYER_BLOCK_BYTES,
  setBits,
  ZERO_BITS_BYTES,
  zeroBitsKey,
} from './zero-bits.js';

interface Waiting {
  readonly chunk: ChunkFile;
  readonly offset: number;
  readonly length: number;
  readonly on: boolean;
  readonly done: (status: number) => void;
}

/**
 * Makes known, before a range of a layered version is punched, that it is zeros and not absent (I12). Group commit: what
 * is asked for while one commit runs goes into the next.
 */
export class ZeroLog implements BatchTask {
  private readonly io: Pick<Io, 'schedule'>;
  private readonly records: Pick<Records, 'value'>;
  private readonly commit: (changes: readonly Change[]) => Promise<void>;
  private waiting: Waiting[] = [];
  private committing = false;
  private scheduled = false;

  constructor(
    io: Pick<Io, 'schedule'>,
    records: Pick<Records, 'value'>,
    commit: (changes: readonly Change[]) => Promise<void>,
  ) {
    this.io = io;
    this.records = records;
    this.commit = commit;
  }

  /** The durable bits of a region, null where there are none. */
  bits(chunk: ChunkFile, region: number): Uint8Array | null {
    const value = this.records.value(zeroBitsKey(chunk.object.key, chunk.chunk, chunk.version, region));
    return value === undefined || value.length !== ZERO_BITS_BYTES ? null : value;
  }

  /** Whole blocks. `done` gets 0 when it is durable, or a wire status; never from within. */
  set(chunk: ChunkFile, offset: number, length: number, on: boolean, done: (status: number) => void): void {
    this.waiting.push({ chunk, offset, length, on, done });
    this.arrange();
  }

  /** Blocks that another version has as zeros become this one's. @throws RawstorError */
  async add(chunk: ChunkFile, region: number, bits: Uint8Array): Promise<void> {
    const start = region * LIMITS.regionSizeBytes;
    const set: Promise<number>[] = [];
    for (let block = 0; block < BLOCKS_PER_REGION; block++) {
      if (!hasBit(bits, block)) continue;
      const from = block;
      while (block + 1 < BLOCKS_PER_REGION && hasBit(bits, block + 1)) block++;
      const offset = start + from * LAYER_BLOCK_BYTES;
      const length = (block + 1 - from) * LAYER_BLOCK_BYTES;
      set.push(new Promise((resolve) => this.set(chunk, offset, length, true, resolve)));
    }
    for (const status of await Promise.all(set)) if (status !== 0) throw errorOfStatus(status, chunk.where);
  }

  runBatch(): void {
    this.scheduled = false;
    if (this.committing) return;
    const waiting = this.waiting;
    this.waiting = [];
    const changes = new Map<string, { key: Buffer; value: Buffer | null }>();
    for (const one of waiting) this.apply(one, changes);
    this.committing = true;
    const committed = changes.size === 0 ? Promise.resolve() : this.commit([...changes.values()]);
    committed.then(
      () => this.settle(waiting, 0),
      (error) => this.settle(waiting, asRawstorError(error).wire),
    );
  }

  private apply({ chunk, offset, length, on }: Waiting, changes: Map<string, Change>): void {
    const end = offset + length;
    for (let at = offset; at < end; ) {
      const region = Math.floor(at / LIMITS.regionSizeBytes);
      const start = region * LIMITS.regionSizeBytes;
      const until = Math.min(end, start + LIMITS.regionSizeBytes);
      const key = zeroBitsKey(chunk.object.key, chunk.chunk, chunk.version, region);
      const name = key.toString('latin1');
      const prepared = changes.get(name);
      const before = prepared === undefined ? this.records.value(key) : prepared.value;
      const bits = Buffer.alloc(ZERO_BITS_BYTES);
      if (before?.length === ZERO_BITS_BYTES) bits.set(before);
      const first = (at - start) / LAYER_BLOCK_BYTES;
      const last = Math.min(BLOCKS_PER_REGION, (until - start) / LAYER_BLOCK_BYTES);
      if (setBits(bits, first, last, on)) {
        changes.set(name, { key, value: bits.some((byte) => byte !== 0) ? bits : null });
      }
      at = until;
    }
  }

  private arrange(): void {
    if (this.scheduled || this.committing) return;
    this.scheduled = true;
    this.io.schedule(this);
  }

  private settle(waiting: readonly Waiting[], status: number): void {
    this.committing = false;
    for (const { done } of waiting) done(status);
    if (this.waiting.length > 0) this.arrange();
  }
}
