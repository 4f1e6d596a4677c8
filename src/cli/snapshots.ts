import type { Cluster } from '../client/index.js';
import { RawstorError } from '../common/errors.js';
import { LIMITS } from '../common/limits.js';
import type { ObjectInfo, Snapshot } from '../protocol/index.js';
import { snapshotNameSchema } from '../protocol/index.js';
import type { Context } from './context.js';
import { volumeInfo } from './volumes.js';

/** What several verbs do with snapshots. */

export interface SnapshotRef {
  /** Name or id of the volume. */
  readonly volume: string;
  readonly snapshot: string;
}

/** `VOLUME@SNAPSHOT`; null where there is no `@`, which no name has. */
export function splitSnapshotRef(text: string): SnapshotRef | null {
  const at = text.indexOf('@');
  return at < 0 ? null : { volume: text.slice(0, at), snapshot: text.slice(at + 1) };
}

/** @throws RawstorError USAGE */
export function snapshotRef(text: string): SnapshotRef {
  const ref = splitSnapshotRef(text);
  if (ref !== null && ref.volume !== '' && ref.snapshot !== '') return ref;
  throw new RawstorError('USAGE', `'${text}' names no snapshot`, { hint: 'write VOLUME@SNAPSHOT' });
}

/** What a person may call a snapshot. @throws RawstorError USAGE */
export function checkSnapshotName(name: string): void {
  if (snapshotNameSchema.safeParse(name).success) return;
  throw new RawstorError('USAGE', `'${name}' is not a snapshot name`, {
    hint: `letters, digits and _ . : + -, at most ${LIMITS.nameBytes}, a letter, digit or _ first`,
  });
}

/** @throws RawstorError NOT_FOUND */
export function namedSnapshot(volume: ObjectInfo, name: string): NamedSnapshot {
  const found = volume.snapshots.find((one) => one.name === name);
  if (found !== undefined) return { ...found, name };
  const names = namedSnapshots(volume).map((one) => one.name);
  throw new RawstorError('NOT_FOUND', `there is no snapshot '${volume.name}@${name}'`, {
    hint: names.length === 0 ? 'the volume has none' : `it has ${names.slice(-5).join(', ')}`,
  });
}

export type NamedSnapshot = Snapshot & { readonly name: string };

/** By age: without those that were removed and are still being merged. */
export function namedSnapshots(volume: ObjectInfo): NamedSnapshot[] {
  return volume.snapshots.flatMap((one) => (one.name === null ? [] : [{ ...one, name: one.name }]));
}

/** For verbs that take `VOLUME` and `VOLUME@SNAPSHOT` alike. @throws RawstorError USAGE, NOT_FOUND */
export async function findEither(
  context: Context,
  cluster: Cluster,
  text: string,
): Promise<{ volume: ObjectInfo; snapshot: NamedSnapshot | null }> {
  if (splitSnapshotRef(text) !== null) return await findSnapshot(context, cluster, text);
  return { volume: await volumeInfo(cluster, text, context.globals.timeout), snapshot: null };
}

/** The volume and the snapshot of `VOLUME@SNAPSHOT`. @throws RawstorError USAGE, NOT_FOUND */
export async function findSnapshot(
  context: Context,
  cluster: Cluster,
  text: string,
): Promise<{ volume: ObjectInfo; snapshot: NamedSnapshot }> {
  const ref = snapshotRef(text);
  const volume = await volumeInfo(cluster, ref.volume, context.globals.timeout);
  return { volume, snapshot: namedSnapshot(volume, ref.snapshot) };
}
