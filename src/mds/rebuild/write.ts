import { mkdir, open, readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { makeDirectory } from '../../common/directories.js';
import { asRawstorError, RawstorError } from '../../common/errors.js';
import { writeIdentityFile } from '../../common/identity-file.js';
import { newId } from '../../common/ids.js';
import { lockDirectory } from '../../io/index.js';
import { encodeBody } from '../../protocol/index.js';
import { putCatalogRecord, putDumpedRow } from '../catalog-rows.js';
import { absentChild, childChange } from '../children.js';
import { CLUSTER_KEY, ROLE, STORE_DIRECTORY } from '../directory.js';
import { putLeft } from '../left-copies.js';
import { type MetadataStore, STORE_LIMITS } from '../store.js';
import { LmdbStore } from '../store-lmdb.js';
import { encodeStored, NAME_PREFIX, OBJECT_PREFIX, OST_PREFIX } from '../stored-object.js';
import { putTombstone } from '../tombstones.js';
import type { RebuildPlan } from './plan.js';

/** Filled here first, so that what is cut short is not taken for a whole MDS: one on such a directory does not start. */
const NEW_STORE = `${STORE_DIRECTORY}-new`;
const MAY_BE_THERE = new Set(['lock', 'lost+found', NEW_STORE]);

/** @throws RawstorError CANNOT_CREATE for a directory that is not empty, or the system's */
export async function checkEmptyDirectory(path: string): Promise<void> {
  let names: string[];
  try {
    names = await readdir(path);
  } catch (error) {
    const failure = asRawstorError(error, path);
    if (failure.code === 'NOT_FOUND') return;
    throw failure;
  }
  const other = names.find((name) => !MAY_BE_THERE.has(name));
  if (other === undefined) return;
  throw new RawstorError('CANNOT_CREATE', `the directory is not empty: it has ${other}`, {
    where: path,
    hint: 'nothing is overwritten: move what is there away, or give another directory',
  });
}

/**
 * Makes an MDS's directory of a plan; durable and whole when resolved, and else no MDS starts on it.
 * @throws RawstorError CANNOT_CREATE, BUSY, NO_SPACE, or the system's
 */
export async function writeMdsDirectory(path: string, plan: RebuildPlan, nowWallMs: number): Promise<void> {
  try {
    makeDirectory(path);
  } catch (error) {
    throw asRawstorError(error, path);
  }
  await checkEmptyDirectory(path);
  const lock = lockDirectory(path);
  try {
    const fresh = join(path, NEW_STORE);
    await rm(fresh, { recursive: true, force: true });
    await mkdir(fresh, { mode: 0o700 });
    const store = new LmdbStore(fresh);
    try {
      await fillStore(store, plan, nowWallMs);
    } finally {
      await store.close();
    }
    await rename(fresh, join(path, STORE_DIRECTORY));
    await syncDirectory(path);
    // Last, so that a directory with an identity has a store too.
    await writeIdentityFile(path, ROLE, { clusterId: plan.clusterId, serverId: newId(nowWallMs) });
  } catch (error) {
    throw asRawstorError(error, path);
  } finally {
    lock.release();
  }
}

/** Into an empty store. */
export async function fillStore(store: MetadataStore, plan: RebuildPlan, nowWallMs: number): Promise<void> {
  const puts = [{ key: CLUSTER_KEY, value: encodeBody(plan.clusterId) as Uint8Array }];
  for (const { draining = false, removed = false, ...info } of plan.osts) {
    const value = encodeBody({ info, seenWallMs: nowWallMs, draining, removed });
    puts.push({ key: OST_PREFIX + info.ostId, value });
  }
  for (const stored of plan.objects) {
    const { id, name } = stored.object;
    puts.push({ key: OBJECT_PREFIX + id, value: encodeStored(stored) });
    puts.push({ key: NAME_PREFIX + name, value: encodeBody(id) });
    puts.push(...childChange(null, stored).puts);
  }
  // What a clone that stays out lies over is kept for the day when its OST comes back.
  const returned = new Set(plan.objects.map(({ object }) => object.id));
  for (const { id, name, fate, parent } of plan.findings) {
    if (parent !== null && fate !== 'removed' && !returned.has(id)) puts.push(absentChild(id, name, parent));
  }
  for (const { objectId, ostIds } of plan.tombstones) puts.push(putTombstone(objectId, ostIds, nowWallMs));
  for (const { ostId, objectId, epoch } of plan.left) puts.push(putLeft(ostId, objectId, epoch));
  if (plan.lostCatalog !== null) {
    const { revision, rows } = plan.lostCatalog;
    const dumpedRevision = rows.length === 0 ? null : revision;
    puts.push(putCatalogRecord({ state: 'lost', life: 0, dumpedRevision }));
    // One by one: as arguments of one call hundreds of thousands are too many.
    for (const row of rows) puts.push(putDumpedRow(row));
  }
  for (let at = 0; at < puts.length; at += STORE_LIMITS.operations) {
    await store.transact({ checks: [], puts: puts.slice(at, at + STORE_LIMITS.operations) });
  }
}

async function syncDirectory(path: string): Promise<void> {
  const handle = await open(path, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
