import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { makeDirectory } from '../common/directories.js';
import { asRawstorError, RawstorError } from '../common/errors.js';
import { checkClusterId, readIdentityFile, writeIdentityFile } from '../common/identity-file.js';
import { newId } from '../common/ids.js';
import { checkLmdb, inDatabase } from '../common/lmdb-check.js';
import { type DirectoryLock, lockDirectory } from '../io/index.js';
import { encodeBody } from '../protocol/index.js';
import type { MetadataStore } from './store.js';
import { LmdbStore } from './store-lmdb.js';
import { decodeAs } from './stored-object.js';

export const ROLE = 'mds';
export const STORE_DIRECTORY = 'metadata';
export const CLUSTER_KEY = 'meta/cluster';
const REPAIR =
  'move the directory away and make a new one from what the OSTs keep: `rawstor mds rebuild`, or from a dump ' +
  'and what they keep: `rawstor mds load`';

/** An MDS's directory while this process has it. */
export interface MdsDirectory {
  readonly clusterId: string;
  /** Of this MDS among several. */
  readonly serverId: string;
  readonly store: MetadataStore;
  close(): Promise<void>;
  /** An error of what is in the store, with the file it is in. */
  located(error: unknown): unknown;
}

/**
 * Locks the directory, checks that it is an MDS's (or empty: then it becomes one) and that its store is whole,
 * and opens it.
 * @param existing refuse one that is no MDS's yet
 * @param clusterId id for a new cluster, or the one the directory must be of
 * @throws RawstorError BUSY, CONFIG, NOT_FOUND, BAD_DATA, VERSION, or the system's
 */
export async function openMdsDirectory(
  path: string,
  clusterId?: string,
  existing = false,
): Promise<MdsDirectory> {
  if (existing) await checkExists(path);
  try {
    makeDirectory(path);
  } catch (error) {
    throw asRawstorError(error, path);
  }
  const lock = lockDirectory(path);
  try {
    return await openLocked(path, clusterId, lock);
  } catch (error) {
    lock.release();
    throw error;
  }
}

/** @throws RawstorError NOT_FOUND */
async function checkExists(path: string): Promise<void> {
  const options = { role: ROLE, ownNames: [STORE_DIRECTORY], repair: REPAIR };
  const identity = await readIdentityFile(path, options).catch((error: unknown) => {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  });
  if (identity !== null) return;
  throw new RawstorError('NOT_FOUND', 'there is no MDS in this directory', {
    where: path,
    hint: 'is its disk mounted? If it is lost: `rawstor mds rebuild` makes it anew from what the OSTs keep',
  });
}

async function openLocked(
  path: string,
  wanted: string | undefined,
  lock: DirectoryLock,
): Promise<MdsDirectory> {
  const options = { role: ROLE, ownNames: [STORE_DIRECTORY], repair: REPAIR };
  const identity = await readIdentityFile(path, options);
  checkClusterId(wanted, identity?.clusterId ?? '', path);
  const storePath = join(path, STORE_DIRECTORY);
  await checkLmdb(storePath, identity === null, { repair: REPAIR });
  await mkdir(storePath, { recursive: true, mode: 0o700 });
  const store = new LmdbStore(storePath);
  try {
    const known = await clusterOfStore(store);
    if (known === null && identity !== null) {
      throw new RawstorError('BAD_DATA', `the record '${CLUSTER_KEY}' is gone from the store`, {
        hint: REPAIR,
      });
    }
    const clusterId = known ?? (await claimStore(store, wanted ?? newId()));
    checkClusterId(wanted, clusterId, path);
    if (identity !== null && identity.clusterId !== clusterId) {
      throw new RawstorError('BAD_DATA', 'the identity file and the store are of different clusters', {
        where: path,
        hint: `the store says ${clusterId}, the file ${identity.clusterId}: one was copied from elsewhere`,
      });
    }
    const serverId = identity?.serverId ?? newId();
    // Last, so that a directory with an identity has a store too.
    if (identity === null) await writeIdentityFile(path, ROLE, { clusterId, serverId });
    const close = async () => {
      await store.close();
      lock.release();
    };
    return { clusterId, serverId, store, close, located: (error) => inDatabase(error, storePath) };
  } catch (error) {
    await store.close();
    throw inDatabase(error, storePath);
  }
}

/** @returns null for a store that is new */
async function clusterOfStore(store: MetadataStore): Promise<string | null> {
  const entry = await store.get(CLUSTER_KEY);
  if (entry === null) return null;
  return decodeAs(z.string(), CLUSTER_KEY, entry.value);
}

async function claimStore(store: MetadataStore, clusterId: string): Promise<string> {
  await store.transact({
    checks: [{ key: CLUSTER_KEY, version: 0 }],
    puts: [{ key: CLUSTER_KEY, value: encodeBody(clusterId) }],
  });
  return clusterId;
}
