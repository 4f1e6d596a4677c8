import { mkdir, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { writeFileAtomic } from '../common/atomic-file.js';
import { asRawstorError, RawstorError } from '../common/errors.js';
import { newId } from '../common/ids.js';
import { type Io, lockDirectory } from '../io/index.js';
import { idSchema } from '../protocol/index.js';
import { Records } from './records.js';
import type { ChunkStorage } from './storage.js';
import { DirectoryStorage } from './storage-directory.js';
import { openLmdbStore } from './store-lmdb.js';

const IDENTITY_FILE = 'rawstor-ost.json';
const OWN_NAMES = new Set(['lock', 'records', 'chunks', `${IDENTITY_FILE}.tmp`, 'lost+found']);
const FORMAT = 1;

const identitySchema = z.object({
  format: z.literal(FORMAT),
  ostId: idSchema,
  clusterId: z.string(),
  createdWallMs: z.number(),
});
type OstIdentity = z.infer<typeof identitySchema>;

/** An OST's directory while this process has it. */
export interface OstDirectory {
  readonly identity: OstIdentity;
  readonly storage: ChunkStorage;
  readonly records: Records;
  /** A new OST learns its cluster from the first MDS it registers with. */
  joinCluster(clusterId: string): Promise<void>;
  release(): void;
}

/**
 * Locks the directory and opens what is in it; an empty one becomes an OST's.
 * @throws RawstorError BUSY, CANNOT_CREATE, BAD_DATA
 */
export async function openOstDirectory(io: Io, path: string, wallMs: number): Promise<OstDirectory> {
  try {
    await mkdir(path, { recursive: true });
  } catch (error) {
    throw asRawstorError(error, path);
  }
  const lock = lockDirectory(path);
  try {
    const found = await readIdentity(path);
    if (found === null) await refuseForeign(path);
    let identity = found ?? { format: FORMAT, ostId: newId(wallMs), clusterId: '', createdWallMs: wallMs };
    const write = () => writeFileAtomic(join(path, IDENTITY_FILE), `${JSON.stringify(identity, null, 2)}\n`);
    const recordsPath = join(path, 'records');
    const store = await openLmdbStore(recordsPath, found === null);
    const records = new Records(store);
    await records.claim(identity.ostId, found === null, recordsPath);
    await mkdir(join(path, 'chunks'), { recursive: true });
    if (found === null) await write();
    return {
      get identity() {
        return identity;
      },
      storage: new DirectoryStorage(io, join(path, 'chunks')),
      records,
      joinCluster: async (clusterId) => {
        if (identity.clusterId === clusterId) return;
        identity = { ...identity, clusterId };
        await write();
      },
      release: () => lock.release(),
    };
  } catch (error) {
    lock.release();
    throw error;
  }
}

async function readIdentity(path: string): Promise<OstIdentity | null> {
  const file = join(path, IDENTITY_FILE);
  const text = await readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return null;
    throw asRawstorError(error, file);
  });
  if (text === null) return null;
  try {
    return identitySchema.parse(JSON.parse(text));
  } catch (cause) {
    throw new RawstorError('BAD_DATA', 'the identity of the OST cannot be read', {
      where: file,
      hint: 'restore the file from a copy, or move the directory away and start on an empty one',
      cause,
    });
  }
}

/** A directory with somebody else's files is refused rather than mixed with ours. */
async function refuseForeign(path: string): Promise<void> {
  const foreign = (await readdir(path)).find((name) => !OWN_NAMES.has(name));
  if (foreign === undefined) return;
  throw new RawstorError('CANNOT_CREATE', `the directory is not an OST's: it holds ${foreign}`, {
    where: path,
    hint: 'give the OST an empty directory of its own',
  });
}
