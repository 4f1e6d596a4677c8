import { mkdir, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { writeFileAtomic } from '../common/atomic-file.js';
import { asRawstorError, RawstorError } from '../common/errors.js';
import { isId, newId } from '../common/ids.js';
import { checkLmdb } from '../common/lmdb-check.js';
import { type DirectoryLock, lockDirectory } from '../io/index.js';
import { decodeBody, encodeBody, idSchema } from '../protocol/index.js';
import type { MetadataStore } from './store.js';
import { LmdbStore } from './store-lmdb.js';

const IDENTITY_FILE = 'rawstor-mds.json';
const STORE_DIRECTORY = 'metadata';
const CLUSTER_KEY = 'meta/cluster';
/** What a first start that was cut short may leave. */
const OWN_NAMES = new Set(['lock', STORE_DIRECTORY, `${IDENTITY_FILE}.tmp`, 'lost+found']);
const FORMAT = 1;
const REPAIR =
  "restore the metadata directory from a copy; the volumes' data is on the OSTs, " +
  'each of which also holds a record of every object it has chunks of';

const identitySchema = z.object({ format: z.number(), clusterId: idSchema, serverId: idSchema });

/** An MDS's directory while this process has it. */
export interface MdsDirectory {
  readonly clusterId: string;
  /** Of this MDS among several. */
  readonly serverId: string;
  readonly store: MetadataStore;
  close(): Promise<void>;
}

/**
 * Locks the directory, checks that it is an MDS's (or empty: then it becomes one) and that its store is whole,
 * and opens it.
 * @param clusterId id for a new cluster, or the one the directory must be of
 * @throws RawstorError BUSY, CONFIG, BAD_DATA, VERSION, or the system's
 */
export async function openMdsDirectory(path: string, clusterId?: string): Promise<MdsDirectory> {
  try {
    await mkdir(path, { recursive: true });
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

async function openLocked(
  path: string,
  wanted: string | undefined,
  lock: DirectoryLock,
): Promise<MdsDirectory> {
  if (wanted !== undefined && !isId(wanted)) {
    throw new RawstorError('CONFIG', `'${wanted}' is not a cluster id`, { hint: 'a cluster id is a UUID' });
  }
  const identity = await readIdentity(path);
  if (identity === null) await checkOurs(path);
  const storePath = join(path, STORE_DIRECTORY);
  await checkLmdb(storePath, identity === null, { repair: REPAIR });
  await mkdir(storePath, { recursive: true });
  const store = new LmdbStore(storePath);
  try {
    const known = identity?.clusterId ?? wanted ?? newId();
    const clusterId = await clusterOfStore(store, known);
    if (identity !== null && identity.clusterId !== clusterId) {
      throw new RawstorError('BAD_DATA', `${IDENTITY_FILE} and the store are of different clusters`, {
        where: path,
        hint: `the store says ${clusterId}: one of the two was copied from elsewhere`,
      });
    }
    if (wanted !== undefined && wanted !== clusterId) {
      throw new RawstorError('CONFIG', `the directory belongs to cluster ${clusterId}, not to ${wanted}`, {
        where: path,
        hint: 'start on the right directory, or correct the cluster id',
      });
    }
    const serverId = identity?.serverId ?? newId();
    // Last, so that a directory with an identity has a store too.
    if (identity === null) await writeIdentity(path, { format: FORMAT, clusterId, serverId });
    return {
      clusterId,
      serverId,
      store,
      close: async () => {
        await store.close();
        lock.release();
      },
    };
  } catch (error) {
    await store.close();
    throw error;
  }
}

async function readIdentity(path: string): Promise<z.infer<typeof identitySchema> | null> {
  const file = join(path, IDENTITY_FILE);
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw asRawstorError(error, file);
  }
  let body: unknown;
  try {
    body = JSON.parse(text);
  } catch (cause) {
    throw new RawstorError('BAD_DATA', 'the file is not JSON', { where: file, hint: REPAIR, cause });
  }
  const parsed = identitySchema.safeParse(body);
  if (!parsed.success) {
    throw new RawstorError('BAD_DATA', 'the file lacks its fields', {
      where: file,
      hint: REPAIR,
      cause: parsed.error,
    });
  }
  if (parsed.data.format !== FORMAT) {
    throw new RawstorError(
      'VERSION',
      `the directory has format ${parsed.data.format}, this program knows ${FORMAT}`,
      {
        where: file,
        hint: 'use the version of the program that wrote it, or a newer one',
      },
    );
  }
  return parsed.data;
}

function writeIdentity(path: string, identity: z.infer<typeof identitySchema>): Promise<void> {
  return writeFileAtomic(join(path, IDENTITY_FILE), `${JSON.stringify(identity, null, 2)}\n`);
}

/** A directory with somebody else's files is refused rather than mixed with ours. */
async function checkOurs(path: string): Promise<void> {
  const foreign = (await readdir(path)).filter((name) => !OWN_NAMES.has(name));
  if (foreign.length === 0) return;
  const other = foreign.find((name) => /^rawstor-\w+\.json$/.test(name));
  const what =
    other === undefined ? `it holds other files (${foreign[0]})` : `it is another server's (${other})`;
  throw new RawstorError('CONFIG', `the directory is not an MDS's: ${what}`, {
    where: path,
    hint: 'give the MDS an empty directory of its own',
  });
}

async function clusterOfStore(store: MetadataStore, clusterId: string): Promise<string> {
  const entry = await store.get(CLUSTER_KEY);
  if (entry !== null) return decodeBody(entry.value) as string;
  await store.transact({
    checks: [{ key: CLUSTER_KEY, version: 0 }],
    puts: [{ key: CLUSTER_KEY, value: encodeBody(clusterId) }],
  });
  return clusterId;
}
