import { execFile } from 'node:child_process';
import { closeSync, existsSync, openSync, statfsSync } from 'node:fs';
import { mkdir, open, readdir, rename, rm, rmdir, stat, unlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { systemClock } from '../common/clock.js';
import { asRawstorError, RawstorError } from '../common/errors.js';
import { isId } from '../common/ids.js';
import type { Io, IoFile } from '../io/types.js';
import { type Place, placeOf } from './place.js';
import type { ChunkName, ChunkStorage, SpaceFigures, StorageUsage } from './storage.js';

const execute = promisify(execFile);

/** Beside the directories of the objects while a loss is known that the records do not have yet. */
const LOSS_FILE = 'lost-writes';

/**
 * Sparse files `<root>/<last 2 hex digits of the object id>/<object id>/<chunk>.<version>`. The last digits,
 * because the first ones of a UUIDv7 are its time and would put all objects of a year in one place.
 */
export class DirectoryStorage implements ChunkStorage {
  readonly where: string;
  onShort: () => void = () => {};
  private readonly io: Io;

  constructor(io: Io, root: string) {
    this.io = io;
    this.where = root;
  }

  async open(objectId: string, name: ChunkName, create: boolean): Promise<IoFile | null> {
    const path = this.path(objectId, name);
    const openIt = (mayCreate: boolean) =>
      whenThereAreDescriptors(
        () => this.io.openFile(path, { create: mayCreate }),
        () => this.onShort(),
      );
    try {
      return await openIt(create);
    } catch (error) {
      if (asRawstorError(error).code !== 'NOT_FOUND') throw error;
      if (!create) return null;
    }
    await mkdir(dirname(path), { recursive: true, mode: 0o700 });
    return await openIt(true);
  }

  async openDirect(objectId: string, name: ChunkName): Promise<IoFile | null> {
    try {
      return await this.io.openFile(this.path(objectId, name), { readOnly: true, direct: true });
    } catch (error) {
      const { code } = asRawstorError(error);
      if (code === 'NOT_FOUND' || code === 'NOT_SUPPORTED') return null;
      throw error;
    }
  }

  async syncDirectory(objectId: string): Promise<void> {
    const directory = this.directory(objectId);
    await syncPath(directory);
    await syncPath(dirname(directory));
    await syncPath(this.where);
  }

  async removeChunk(objectId: string, name: ChunkName): Promise<void> {
    const path = this.path(objectId, name);
    try {
      await unlink(path);
    } catch (error) {
      if (!isMissing(error)) throw asRawstorError(error, path);
    }
  }

  async renameChunk(objectId: string, from: ChunkName, to: ChunkName): Promise<void> {
    const path = this.path(objectId, from);
    try {
      await rename(path, this.path(objectId, to));
    } catch (error) {
      throw asRawstorError(error, path);
    }
  }

  async list(objectId: string): Promise<ChunkName[]> {
    const names: ChunkName[] = [];
    for (const entry of await readdirOrNone(this.directory(objectId))) {
      const name = parseChunkName(entry);
      if (name !== null) names.push(name);
    }
    return names.sort((a, b) => a.chunk - b.chunk || a.version - b.version);
  }

  async objects(): Promise<string[]> {
    const ids: string[] = [];
    for (const prefix of await readdirOrNone(this.where)) {
      if (!/^[0-9a-f]{2}$/.test(prefix)) continue;
      for (const id of await readdirOrNone(join(this.where, prefix))) if (isId(id)) ids.push(id);
    }
    return ids;
  }

  async usage(objectId: string): Promise<StorageUsage> {
    const whole: StorageUsage = { allocatedBytes: 0, chunks: 0, versions: [] };
    const versions = new Map<number, StorageUsage['versions'][number]>();
    for (const name of await this.list(objectId)) {
      try {
        const bytes = (await stat(this.path(objectId, name))).blocks * 512;
        const { version } = name;
        const one = versions.get(version) ?? { version, allocatedBytes: 0, chunks: 0 };
        versions.set(version, one);
        for (const sum of [whole, one]) {
          sum.allocatedBytes += bytes;
          sum.chunks++;
        }
      } catch (error) {
        if (!isMissing(error)) throw asRawstorError(error);
      }
    }
    whole.versions = [...versions.values()].sort((a, b) => a.version - b.version);
    return whole;
  }

  async remove(objectId: string, next = () => {}): Promise<void> {
    const directory = this.directory(objectId);
    try {
      for (const entry of await readdirOrNone(directory)) {
        next();
        await unlink(join(directory, entry));
      }
      // Also where a removal that was cut short took it: nothing says that that was durable.
      await rmdir(directory).catch(unlessMissing);
      await syncPath(dirname(directory)).catch(unlessMissing);
    } catch (error) {
      throw asRawstorError(error, directory);
    }
  }

  /** posix_fadvise(POSIX_FADV_DONTNEED) over the whole file, by coreutils' dd: Node has no call for it. */
  async dropCache(objectId: string, name: ChunkName): Promise<void> {
    const path = this.path(objectId, name);
    try {
      await execute('dd', [`if=${path}`, 'iflag=nocache', 'count=0', 'status=none']);
    } catch (cause) {
      // Removed meanwhile.
      if (!existsSync(path)) return;
      throw new RawstorError('IO', `cached pages cannot be dropped: ${(cause as Error).message}`, {
        where: path,
        cause,
      });
    }
  }

  async dropCaches(): Promise<void> {
    for (const id of await this.objects()) {
      for (const name of await this.list(id)) await this.dropCache(id, name);
    }
  }

  /** syncfs, by coreutils: it reports what a writeback could not write and nobody has been told of. */
  async syncAll(): Promise<void> {
    try {
      await execute('sync', ['-f', this.where]);
    } catch (cause) {
      throw new RawstorError('IO', `writing back failed: ${(cause as Error).message}`, {
        where: this.where,
        cause,
      });
    }
  }

  noteLoss(): void {
    closeSync(openSync(join(this.where, LOSS_FILE), 'w', 0o600));
  }

  lossNoted(): boolean {
    return existsSync(join(this.where, LOSS_FILE));
  }

  async forgetLoss(): Promise<void> {
    await rm(join(this.where, LOSS_FILE), { force: true });
  }

  space(): SpaceFigures {
    const figures = statfsSync(this.where);
    return { capacityBytes: figures.blocks * figures.bsize, freeBytes: figures.bavail * figures.bsize };
  }

  place(): Place {
    return placeOf(this.where);
  }

  private directory(objectId: string): string {
    return join(this.where, objectId.slice(-2), objectId);
  }

  private path(objectId: string, name: ChunkName): string {
    return join(this.directory(objectId), `${name.chunk}.${name.version}`);
  }
}

function parseChunkName(entry: string): ChunkName | null {
  const match = /^(\d{1,10})\.(\d{1,10})$/.exec(entry);
  return match === null ? null : { chunk: Number(match[1]), version: Number(match[2]) };
}

/** Time for descriptors to come free. */
const RETRY_MS = 100;
const TRIES = 50;
const SHORT = new Set(['EMFILE', 'ENFILE', 'ENOMEM']);

/** Opens something, again where descriptors are short, which may pass. @throws as `work` does */
async function whenThereAreDescriptors<T>(work: () => Promise<T>, onShort = () => {}): Promise<T> {
  for (let left = TRIES; ; left--) {
    try {
      return await work();
    } catch (error) {
      if (!SHORT.has(codeOf(error))) throw error;
      if (left === 0) {
        throw new RawstorError('LIMIT', 'this OST has too many files open, all of them in use', {
          where: asRawstorError(error).where,
          hint: 'raise LimitNOFILE of its service (`ulimit -n`); volumes with many snapshots need a descriptor for each of them',
          cause: error,
        });
      }
      onShort();
      await systemClock.sleep(RETRY_MS);
    }
  }
}

/** Of the system, also where it has become an error of ours. */
function codeOf(error: unknown): string {
  const { code, cause } = error as NodeJS.ErrnoException;
  return (cause as NodeJS.ErrnoException | undefined)?.code ?? code ?? '';
}

/**
 * fsync of a directory: the entries in it are durable afterwards.
 * @throws RawstorError BUSY when nothing was tried, because it could not be opened; else what the system says of the fsync
 */
export async function syncPath(path: string): Promise<void> {
  const handle = await whenThereAreDescriptors(() => open(path, 'r')).catch((cause) => {
    throw new RawstorError('BUSY', `it cannot be opened to be synced: ${(cause as Error).message}`, {
      where: path,
      cause,
    });
  });
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

async function readdirOrNone(path: string): Promise<string[]> {
  try {
    return await readdir(path);
  } catch (error) {
    if (isMissing(error)) return [];
    throw asRawstorError(error);
  }
}

function unlessMissing(error: unknown): void {
  if (!isMissing(error)) throw error;
}

function isMissing(error: unknown): boolean {
  return codeOf(error) === 'ENOENT';
}
