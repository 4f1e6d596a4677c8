import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { makeDirectory } from '../common/directories.js';
import { asRawstorError, RawstorError } from '../common/errors.js';
import { checkClusterId, readIdentityFile, writeIdentityFile } from '../common/identity-file.js';
import { newId } from '../common/ids.js';
import { inDatabase } from '../common/lmdb-check.js';
import { type Io, lockDirectory } from '../io/index.js';
import { checkExactHoles } from './layers/index.js';
import { Records } from './records.js';
import type { ChunkStorage } from './storage.js';
import { DirectoryStorage } from './storage-directory.js';
import { openLmdbStore } from './store-lmdb.js';

const ROLE = 'ost';
const RECORDS_DIRECTORY = 'records';
const CHUNKS_DIRECTORY = 'chunks';
const IDENTITY = {
  role: ROLE,
  ownNames: [RECORDS_DIRECTORY, CHUNKS_DIRECTORY],
  repair: 'restore the file from a copy, or move the directory away and start on an empty one',
};

/** An OST's directory while this process has it. */
export interface OstDirectory {
  readonly ostId: string;
  /** '' while it has not met its cluster. */
  readonly clusterId: string;
  readonly storage: ChunkStorage;
  readonly records: Records;
  /** A new OST learns its cluster from the first MDS it registers with. @throws RawstorError CONFIG */
  joinCluster(clusterId: string): Promise<void>;
  release(): void;
  /** An error of what is in the records, with the file it is in. */
  located(error: unknown): unknown;
}

/**
 * Locks the directory and opens what is in it; an empty one becomes an OST's.
 * @throws RawstorError BUSY, CONFIG, BAD_DATA, VERSION, NOT_SUPPORTED, or the system's
 */
export async function openOstDirectory(
  io: Io,
  path: string,
  wallMs: number,
  wantedCluster?: string,
): Promise<OstDirectory> {
  try {
    makeDirectory(path);
  } catch (error) {
    throw asRawstorError(error, path);
  }
  // Before there is a lock file in it: somebody else's directory is left as it is.
  const before = await readIdentityFile(path, IDENTITY);
  checkClusterId(wantedCluster, before?.clusterId ?? '', path);
  const lock = lockDirectory(path);
  try {
    return await openLocked(io, path, wallMs, () => lock.release());
  } catch (error) {
    lock.release();
    throw error;
  }
}

async function openLocked(io: Io, path: string, wallMs: number, release: () => void): Promise<OstDirectory> {
  const found = await readIdentityFile(path, IDENTITY);
  let clusterId = found?.clusterId ?? '';
  const recordsPath = join(path, RECORDS_DIRECTORY);
  const store = await openLmdbStore(recordsPath, found === null);
  try {
    const records = new Records(store);
    const ostId = await records.claim(found?.serverId ?? null, newId(wallMs), recordsPath);
    const chunksPath = join(path, CHUNKS_DIRECTORY);
    await openChunks(chunksPath, found === null);
    await checkExactHoles(io, chunksPath);
    // Last, so that a directory with an identity has its records and chunks too.
    if (found === null) await writeIdentityFile(path, ROLE, { clusterId, serverId: ostId });
    return {
      ostId,
      get clusterId() {
        return clusterId;
      },
      storage: new DirectoryStorage(io, chunksPath),
      records,
      joinCluster: async (joined) => {
        checkClusterId(joined, clusterId, path);
        if (joined === clusterId) return;
        await writeIdentityFile(path, ROLE, { clusterId: joined, serverId: ostId });
        clusterId = joined;
      },
      release,
      located: (error) => inDatabase(error, recordsPath),
    };
  } catch (error) {
    await store.close();
    throw inDatabase(error, recordsPath);
  }
}

/** Chunks that are not there read as zeros: a directory of them that has gone must not become an empty one. */
async function openChunks(path: string, mayBeNew: boolean): Promise<void> {
  if (mayBeNew) makeDirectory(path);
  else if (!existsSync(path)) {
    throw new RawstorError('BAD_DATA', 'the data of this OST is gone', {
      where: path,
      hint:
        'mount it or restore it from a copy, or move the whole directory away, start on an empty one and let its ' +
        'volumes resync',
    });
  }
}
