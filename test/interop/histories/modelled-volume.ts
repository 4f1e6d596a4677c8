import { BlockFlag, BlockOp, BlockRequest } from '../../../src/block/index.js';
import type { SnapshotReader, Volume } from '../../../src/client/index.js';
import type { RawstorError } from '../../../src/common/errors.js';
import { MiB } from '../../../src/common/units.js';
import { type Memory, mapAnonymous } from '../../../src/io/index.js';
import type { VersionChange } from '../../../src/protocol/index.js';
import { until } from '../client/rig.js';
import type { DiskCluster } from './disk-cluster.js';

export const SECTOR = 512;
/** Larger than any volume here. */
const memory: Memory = mapAnonymous(8 * MiB);
const PIECE = MiB;

/** What was written and is not flushed: of each sector the old content or the new one may be there after a loss. */
interface Loose {
  readonly offset: number;
  readonly before: Buffer;
}

/** A volume, open, beside what it and its snapshots should read as. */
export class ModelledVolume {
  readonly name: string;
  head: Buffer;
  readonly snapshots = new Map<string, { version: number; content: Buffer }>();
  parent: { of: ModelledVolume; snapshot: string } | null = null;
  private volume!: Volume;
  private loose: Loose[] = [];
  private readonly rig: DiskCluster;
  private counter = 0;

  constructor(rig: DiskCluster, name: string, head: Buffer) {
    this.rig = rig;
    this.name = name;
    this.head = head;
  }

  async open(): Promise<void> {
    const { cluster } = this.rig;
    await until(async () => {
      try {
        this.volume = await cluster.openVolume(this.name, { mode: 'write', timeoutMs: 20_000, force: true });
        return true;
      } catch (error) {
        if ((error as RawstorError).code !== 'BUSY' && (error as RawstorError).code !== 'CONFLICT')
          throw error;
        return false;
      }
    });
  }

  close(): Promise<void> {
    return this.volume.close();
  }

  kill(): void {
    this.rig.forget(this.volume);
  }

  /** All replicas have all. */
  async inOrder(): Promise<void> {
    await until(() => {
      const { members, recovered } = this.volume.status();
      return recovered && members.every((member) => member.state === 'in-sync');
    });
  }

  async write(offset: number, length: number, byte: number): Promise<void> {
    const [from, until_] = this.inside(offset, length);
    for (let at = from; at < until_; at += PIECE) {
      const piece = Math.min(PIECE, until_ - at);
      memory.bytes.fill(byte, 0, piece);
      await this.must(BlockOp.WRITE, at, piece);
    }
    this.change(from, until_, byte);
  }

  async zero(offset: number, length: number, how: 'keep' | 'unmap' | 'discard'): Promise<void> {
    const [from, until_] = this.inside(offset, length);
    const op = how === 'discard' ? BlockOp.DISCARD : BlockOp.WRITE_ZEROES;
    await this.must(op, from, until_ - from, how === 'unmap' ? BlockFlag.MAY_UNMAP : 0);
    this.change(from, until_, 0);
  }

  /** @returns false where a loss was reported by it, which covers nothing */
  async flush(): Promise<boolean> {
    const error = await this.run(this.volume, BlockOp.FLUSH, 0, 0);
    if (error === null) this.loose = [];
    else if (error.code !== 'LOSS') throw error;
    return error === null;
  }

  async snapshot(): Promise<void> {
    if (this.snapshots.size > 8) return;
    const name = `s${++this.counter}`;
    const version = this.volume.object.headVersion;
    await this.versions({ kind: 'snapshot', name });
    this.snapshots.set(name, { version, content: Buffer.from(this.head) });
  }

  async remove(name: string): Promise<void> {
    await this.versions({ kind: 'remove', version: this.snapshots.get(name)!.version });
    this.snapshots.delete(name);
  }

  async rollback(name: string, keep: boolean): Promise<void> {
    const keepAs = keep ? `s${++this.counter}` : null;
    const version = this.volume.object.headVersion;
    const { version: to, content } = this.snapshots.get(name)!;
    await this.versions({ kind: 'rollback', to, keepAs });
    if (keepAs !== null) this.snapshots.set(keepAs, { version, content: this.head });
    this.head = Buffer.from(content);
  }

  async flatten(): Promise<void> {
    await this.versions({ kind: 'flattened' });
    this.parent = null;
  }

  async resize(sizeBytes: number): Promise<void> {
    if (sizeBytes === this.head.length) return;
    await this.versions({ kind: 'resize', sizeBytes });
    const before = this.head;
    this.head = Buffer.alloc(sizeBytes);
    // Only the record changes: what was not flushed still is not.
    before.copy(this.head);
  }

  /** After a loss of all that was not flushed: what is there is taken over where it is legal. */
  async settle(): Promise<void> {
    const now = await this.read(this.volume, 0, this.head.length);
    for (let at = 0; at < now.length; at += SECTOR) {
      const sector = now.subarray(at, at + SECTOR);
      if (sector.equals(this.head.subarray(at, at + SECTOR))) continue;
      const legal = this.loose.some(({ offset, before }) => {
        const from = at - offset;
        return from >= 0 && from < before.length && sector.equals(before.subarray(from, from + SECTOR));
      });
      if (!legal)
        throw new Error(
          `${this.name} at ${at}: ${sector[0]} was never there, or is older than what was flushed`,
        );
      sector.copy(this.head, at);
    }
    // It is told to the guest by its next flush.
    await this.flush();
    await this.flush();
  }

  async check(): Promise<void> {
    differs(`${this.name}`, await this.read(this.volume, 0, this.head.length), this.head);
  }

  /** What is told of holes is true, and what changed since a snapshot is told of. */
  async checkTold(): Promise<void> {
    for (let at = 0; at < this.head.length; ) {
      for (const { lengthBytes, zero } of await this.volume.extents(at, this.head.length - at)) {
        const bytes = this.head.subarray(at, at + lengthBytes);
        if (zero && bytes.some((byte) => byte !== 0)) throw new Error(`${this.name} at ${at}: told as zeros`);
        at += lengthBytes;
      }
    }
    for (const mark of this.volume.marks()) {
      const { content } = [...this.snapshots.values()].find((one) => one.version === mark.version)!;
      // What is behind its end reads as zeros.
      const then = Buffer.alloc(this.head.length);
      content.copy(then);
      for (let at = 0; at < this.head.length; ) {
        for (const { lengthBytes, depth } of await this.volume.layers(mark, at, this.head.length - at)) {
          const [a, b] = [this.head, then].map((all) => all.subarray(at, at + lengthBytes));
          const same = a!.equals(b!);
          if (depth === 0 && !same)
            throw new Error(`${this.name} at ${at}: told as unchanged since ${mark.name}`);
          at += lengthBytes;
        }
      }
    }
  }

  async checkSnapshots(): Promise<void> {
    for (const [name, { content }] of this.snapshots) {
      const reader = await this.rig.cluster.openSnapshot(this.name, name);
      differs(`${this.name}@${name}`, await this.read(reader, 0, content.length), content);
      await reader.close();
    }
  }

  private inside(offset: number, length: number): [number, number] {
    const sectors = this.head.length / SECTOR;
    const from = (offset % sectors) * SECTOR;
    return [from, Math.min(from + length * SECTOR, this.head.length)];
  }

  private change(from: number, until_: number, byte: number): void {
    this.loose.push({ offset: from, before: Buffer.from(this.head.subarray(from, until_)) });
    this.head.fill(byte, from, until_);
  }

  private async versions(change: VersionChange): Promise<void> {
    const { cluster } = this.rig;
    await cluster.changeVolume(this.name, change, { timeoutMs: 30_000 });
    // A new head is a seal: what was before is durable.
    if (change.kind === 'snapshot' || change.kind === 'rollback') this.loose = [];
  }

  private async must(op: BlockOp, offset: number, length: number, flags = 0): Promise<void> {
    const error = await this.run(this.volume, op, offset, length, flags);
    if (error !== null) throw error;
  }

  private async read(from: Volume | SnapshotReader, offset: number, length: number): Promise<Buffer> {
    const found = Buffer.alloc(length);
    for (let at = 0; at < length; at += PIECE) {
      const piece = Math.min(PIECE, length - at);
      const error = await this.run(from, BlockOp.READ, offset + at, piece);
      if (error !== null) throw error;
      memory.bytes.copy(found, at, 0, piece);
    }
    return found;
  }

  private run(
    on: Volume | SnapshotReader,
    op: BlockOp,
    offset: number,
    length: number,
    flags = 0,
  ): Promise<RawstorError | null> {
    return new Promise((resolve) => {
      const request = new BlockRequest({ blockDone: (_request, error) => resolve(error) });
      Object.assign(request, { op, offset, length, flags });
      if (op === BlockOp.READ || op === BlockOp.WRITE) request.slices.add(memory, 0, length);
      on.submit(request);
    });
  }
}

function differs(what: string, found: Buffer, expected: Buffer): void {
  if (found.equals(expected)) return;
  let at = 0;
  while (found[at] === expected[at]) at++;
  throw new Error(`${what} differs at ${at}: ${found[at]}, not ${expected[at]}`);
}
