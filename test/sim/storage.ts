import { RawstorError } from '../../src/common/errors.js';
import type { FileOp, IoFile } from '../../src/io/types.js';
import type { Place } from '../../src/ost/place.js';
import type { ChunkName, ChunkStorage, SpaceFigures, StorageUsage } from '../../src/ost/storage.js';
import type { Change, DurableStore } from '../../src/ost/store.js';
import { BLOCK, FileData, type SimDisk } from './disk.js';
import type { SimProcess } from './process.js';

const EIO = -5;
const HUGE = 2 ** 40;

const pathOf = (objectId: string, { chunk, version }: ChunkName) => `${objectId}/${chunk}.${version}`;

/** The chunk files of one OST process on a disk. */
export class SimStorage implements ChunkStorage {
  readonly where: string;
  private readonly disk: SimDisk;
  private readonly process: SimProcess;

  constructor(disk: SimDisk, process: SimProcess) {
    this.disk = disk;
    this.process = process;
    this.where = disk.name;
  }

  async open(objectId: string, name: ChunkName, create: boolean): Promise<IoFile | null> {
    const path = pathOf(objectId, name);
    await this.wait(0.05);
    let file = this.disk.files.get(path);
    if (file === undefined) {
      if (!create) return null;
      file = new FileData();
      this.disk.files.set(path, file);
    }
    return new SimFile(this.disk, this.process, path, file);
  }

  async syncDirectory(objectId: string): Promise<void> {
    await this.wait(0.5);
    for (const [path, file] of this.disk.files) if (path.startsWith(objectId)) file.linked = true;
  }

  async removeChunk(objectId: string, name: ChunkName): Promise<void> {
    this.disk.files.delete(pathOf(objectId, name));
  }

  async renameChunk(objectId: string, from: ChunkName, to: ChunkName): Promise<void> {
    const { files } = this.disk;
    const file = files.get(pathOf(objectId, from));
    if (file === undefined) return;
    files.delete(pathOf(objectId, from));
    files.set(pathOf(objectId, to), file);
  }

  async list(objectId: string): Promise<ChunkName[]> {
    const paths = [...this.disk.files.keys()].filter((path) => path.startsWith(objectId));
    return paths.map((path) => {
      const [chunk, version] = path.slice(objectId.length + 1).split('.');
      return { chunk: Number(chunk), version: Number(version) };
    });
  }

  async objects(): Promise<string[]> {
    return [...new Set([...this.disk.files.keys()].map((path) => path.split('/')[0]!))];
  }

  async usage(objectId: string): Promise<StorageUsage> {
    const chunks = await this.list(objectId);
    return { allocatedBytes: 0, chunks: chunks.length, versions: [] };
  }

  async remove(objectId: string): Promise<void> {
    for (const path of [...this.disk.files.keys()]) {
      if (path.startsWith(objectId)) this.disk.files.delete(path);
    }
  }

  async dropCache(objectId: string, name: ChunkName): Promise<void> {
    const file = this.disk.files.get(pathOf(objectId, name));
    if (file === undefined) return;
    // Dirty pages stay: only clean ones can be dropped.
    const dirty = new Map([...file.dirty.keys()].map((block) => [block, file.cached.get(block)]));
    file.cached.clear();
    for (const [block, content] of file.durable) file.cached.set(block, content);
    for (const [block, content] of dirty) {
      if (content === undefined) file.cached.delete(block);
      else file.cached.set(block, content);
    }
  }

  async dropCaches(): Promise<void> {
    for (const objectId of await this.objects()) {
      for (const name of await this.list(objectId)) await this.dropCache(objectId, name);
    }
  }

  async syncAll(): Promise<void> {
    await this.wait(2);
    for (const file of this.disk.files.values()) {
      file.sync();
      file.linked = true;
    }
  }

  noteLoss(): void {
    this.disk.lossNote = true;
  }

  lossNoted(): boolean {
    return this.disk.lossNote;
  }

  async forgetLoss(): Promise<void> {
    this.disk.lossNote = false;
  }

  space(): SpaceFigures {
    return { capacityBytes: HUGE, freeBytes: this.disk.full ? 0 : HUGE };
  }

  place(): Place {
    return { mount: this.disk.mount, directory: this.disk.name };
  }

  private wait(typicalMs: number): Promise<void> {
    return new Promise((resolve) => this.process.later(this.disk.delayMs(typicalMs), '', resolve));
  }
}

class SimFile implements IoFile {
  readonly fd = 0;
  readonly path: string;
  private readonly disk: SimDisk;
  private readonly process: SimProcess;
  private readonly file: FileData;

  constructor(disk: SimDisk, process: SimProcess, path: string, file: FileData) {
    this.disk = disk;
    this.process = process;
    this.path = path;
    this.file = file;
  }

  read(op: FileOp): void {
    const take = () => {
      const length = Math.max(0, Math.min(op.slices.lengthBytes, this.file.sizeBytes - op.fileOffset));
      return this.copyOut(op.fileOffset, length);
    };
    if (!this.file.canRead(op.fileOffset, op.slices.lengthBytes)) return this.later(op, 5, () => EIO);
    // It gives what is there when it begins, or when it ends.
    const begun = this.disk.world.chance(0.5) ? take() : null;
    this.later(op, 0.05, () => {
      const bytes = begun ?? take();
      op.slices.fill({ bytes, address: 0 }, 0, 0, bytes.length);
      return bytes.length;
    });
  }

  write(op: FileOp): void {
    this.later(op, 0.02, () => {
      // The rest of a page that is written in part is read first.
      if (!this.canReadEnds(op)) return EIO;
      this.copyIn(op.fileOffset, op.slices.toBuffer());
      return op.slices.lengthBytes;
    });
  }

  sync(op: FileOp): void {
    // Covers what is there now; what is written meanwhile may be in it too.
    const begun = this.disk.world.chance(0.5) ? this.file.begun() : null;
    const { sizeBytes } = this.file;
    this.later(op, 1, () => {
      if (this.disk.failSyncs > 0 && !this.disk.steady && this.file.dirty.size > 0) {
        this.disk.failSyncs--;
        this.disk.failSync(this.file);
        return EIO;
      }
      if (begun === null) this.file.sync();
      else this.file.syncBegun(begun, sizeBytes);
      return 0;
    });
  }

  punch(op: FileOp): void {
    this.later(op, 0.1, () => {
      const end = Math.min(op.fileOffset + op.lengthBytes, this.file.sizeBytes);
      for (let at = op.fileOffset; at < end; ) {
        const block = Math.floor(at / BLOCK);
        const next = Math.min(end, (block + 1) * BLOCK);
        if (next - at === BLOCK) {
          if (this.file.cached.has(block)) this.file.change(block, null);
        } else this.copyIn(at, Buffer.alloc(next - at));
        at = next;
      }
      return 0;
    });
  }

  writeback(op: FileOp): void {
    this.later(op, 0.1, () => 0);
  }

  seekData(fileOffset: number): number {
    return this.seek(fileOffset, true);
  }

  seekHole(fileOffset: number): number {
    return this.seek(fileOffset, false);
  }

  sizeBytes(): number {
    return this.file.sizeBytes;
  }

  allocatedBytes(): number {
    return this.file.cached.size * BLOCK;
  }

  async truncate(): Promise<void> {
    throw new Error('not in the simulation');
  }

  async close(): Promise<void> {}

  private seek(fileOffset: number, data: boolean): number {
    for (let block = Math.floor(fileOffset / BLOCK); block * BLOCK < this.file.sizeBytes; block++) {
      if (this.file.cached.has(block) === data) return Math.max(fileOffset, block * BLOCK);
    }
    return this.file.sizeBytes;
  }

  private copyOut(offset: number, length: number): Buffer {
    const out = Buffer.alloc(length);
    for (let at = 0; at < length; ) {
      const block = Math.floor((offset + at) / BLOCK);
      const from = (offset + at) % BLOCK;
      const take = Math.min(BLOCK - from, length - at);
      this.file.cached.get(block)?.copy(out, at, from, from + take);
      at += take;
    }
    return out;
  }

  private canReadEnds({ fileOffset, slices }: FileOp): boolean {
    const end = fileOffset + slices.lengthBytes;
    const first = fileOffset % BLOCK === 0 || this.file.canRead(fileOffset, 1);
    return first && (end % BLOCK === 0 || this.file.canRead(end, 1));
  }

  private copyIn(offset: number, bytes: Buffer): void {
    for (let at = 0; at < bytes.length; ) {
      const block = Math.floor((offset + at) / BLOCK);
      const into = (offset + at) % BLOCK;
      const take = Math.min(BLOCK - into, bytes.length - at);
      const content = Buffer.alloc(BLOCK);
      this.file.cached.get(block)?.copy(content);
      bytes.copy(content, into, at, at + take);
      this.file.change(block, content);
      at += take;
    }
    this.file.sizeBytes = Math.max(this.file.sizeBytes, offset + bytes.length);
  }

  private later(op: FileOp, typicalMs: number, action: () => number): void {
    this.process.later(this.disk.delayMs(typicalMs), '', () => op.owner.fileDone(op, action()));
  }
}

/** The records of an OST: durable when a commit is answered, and perhaps a moment before. */
export class SimStore implements DurableStore {
  private readonly disk: SimDisk;
  private readonly process: SimProcess;
  /** Commits take effect in the order asked. */
  private lastAtMs = 0;

  constructor(disk: SimDisk, process: SimProcess) {
    this.disk = disk;
    this.process = process;
  }

  get(key: Buffer): Buffer | undefined {
    return this.disk.records.get(key.toString('hex'));
  }

  range(start: Buffer, end: Buffer, limit: number): { key: Buffer; value: Buffer }[] {
    const [from, to] = [start.toString('hex'), end.toString('hex')];
    const keys = [...this.disk.records.keys()].filter((key) => key >= from && key < to).sort();
    return keys.slice(0, limit).map((key) => ({
      key: Buffer.from(key, 'hex'),
      value: this.disk.records.get(key)!,
    }));
  }

  commit(changes: readonly Change[]): Promise<void> {
    const { disk, process } = this;
    const { world } = process;
    const atMs = Math.max(this.lastAtMs, world.nowMs + disk.delayMs(0.5));
    this.lastAtMs = atMs + 0.001;
    return new Promise((resolve, reject) => {
      process.later(atMs - world.nowMs, '', () => {
        if (disk.full) return reject(new RawstorError('NO_SPACE', 'the disk is full', { where: disk.name }));
        for (const { key, value } of changes) {
          if (value === null) disk.records.delete(key.toString('hex'));
          else disk.records.set(key.toString('hex'), Buffer.from(value));
        }
        process.later(disk.delayMs(0.1), '', resolve);
      });
    });
  }

  async close(): Promise<void> {}
}
