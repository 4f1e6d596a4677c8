import type { Cluster, CreatedVolume } from '../client/index.js';
import { RawstorError } from '../common/errors.js';
import { formatSizeBytes } from '../common/units.js';
import type { CreateSpec, Member, ObjectInfo, OstInfo } from '../protocol/index.js';
import type { Context } from './context.js';

/** What several verbs ask of the metadata server. */

const PAGE = 200;

/** Everything of a list that a server gives by name, some at a time. */
export async function allPages(
  ask: (page: { after: string; limit: number }) => Promise<readonly ObjectInfo[]>,
): Promise<ObjectInfo[]> {
  const found: ObjectInfo[] = [];
  for (;;) {
    const objects = await ask({ after: found.at(-1)?.name ?? '', limit: PAGE });
    found.push(...objects);
    // A server may give fewer at a time than were asked for.
    if (objects.length === 0) return found;
  }
}

/** What people made as volumes; the objects that hold S3's data are not among them. */
export async function allVolumes(cluster: Cluster, timeoutMs: number): Promise<ObjectInfo[]> {
  return (await allObjects(cluster, timeoutMs)).filter(({ mode }) => mode !== 'immutable');
}

export function allObjects(cluster: Cluster, timeoutMs: number): Promise<ObjectInfo[]> {
  return allPages(async (page) => (await cluster.mds.call('mds.list', page, timeoutMs)).objects);
}

/**
 * `instead`: what is done with a snapshot, where this is done with volumes only.
 * @throws RawstorError NOT_FOUND, USAGE
 */
export async function volumeInfo(
  cluster: Cluster,
  ref: string,
  timeoutMs: number,
  instead?: string,
): Promise<ObjectInfo> {
  checkVolumeRef(ref, instead);
  return await cluster.mds.call('mds.getObj', { ref }, timeoutMs);
}

/** @throws RawstorError USAGE for VOLUME@SNAPSHOT */
export function checkVolumeRef(ref: string, instead?: string): void {
  const at = ref.indexOf('@');
  if (at < 0) return;
  throw new RawstorError('USAGE', `'${ref}' is a snapshot: a volume is wanted here`, {
    hint: instead ?? `give the volume alone: ${ref.slice(0, at)}`,
  });
}

/** @returns null when there is none */
export async function findVolume(
  cluster: Cluster,
  ref: string,
  timeoutMs: number,
): Promise<ObjectInfo | null> {
  try {
    return await volumeInfo(cluster, ref, timeoutMs);
  } catch (error) {
    if (error instanceof RawstorError && error.code === 'NOT_FOUND') return null;
    throw error;
  }
}

/** Makes a volume and warns where only some of its OSTs know of it. @throws RawstorError as `createVolume` does */
export async function makeVolume(context: Context, cluster: Cluster, spec: CreateSpec): Promise<ObjectInfo> {
  const created = await cluster.createVolume(spec, context.globals.timeout);
  noteUntold(context, created);
  return created.volume;
}

export function noteUntold(context: Context, { volume, untold }: CreatedVolume): void {
  if (untold.length === 0) return;
  context.warn(`${untold.join(', ')} could not be told of ${volume.name} yet, its next use will do it`);
}

export type KnownOst = OstInfo & { alive: boolean; draining: boolean; lastSeenWallMs: number };

export async function allOsts(cluster: Cluster, timeoutMs: number): Promise<KnownOst[]> {
  return (await cluster.mds.call('mds.listOsts', {}, timeoutMs)).osts;
}

/** How a volume is, in a word; worst first. */
export type VolumeHealth = 'loss' | 'unavailable' | 'degraded' | 'ok';

/**
 * `loss`: acknowledged data was lost and nobody has said so yet. `unavailable`: fewer live in-sync members
 * than the volume needs. `degraded`: fewer than it should have.
 */
export function volumeHealth(volume: ObjectInfo, alive: (ostId: string) => boolean): VolumeHealth {
  if (volume.lossWallMs !== null) return 'loss';
  const inSync = volume.members.filter((member) => member.state === 'in-sync' && alive(member.ostId));
  if (inSync.length === volume.members.length) return 'ok';
  // With more members than replicas each chunk is on some of them only: a missing one is no verdict on all.
  const missing = volume.members.length - inSync.length;
  return volume.replicas - missing < volume.minReplicas ? 'unavailable' : 'degraded';
}

export function memberText(member: Member, alive: boolean): string {
  if (!alive) return member.state === 'in-sync' ? 'in sync, unreachable' : 'stale, unreachable';
  return member.state === 'in-sync' ? 'in sync' : `stale since epoch ${member.staleSince}`;
}

/** First part of an id: enough for people to tell OSTs apart. */
export function shortId(id: string): string {
  return id.slice(-12);
}

/** How far a copy to an OST is, as the volume's holder told last; '' where there is none. */
export function copiedText(volume: ObjectInfo, ostId: string): string {
  const at = volume.recovery.find((progress) => progress.ostId === ostId);
  if (at === undefined) return '';
  const part = at.regionsTotal === 0 ? 0 : Math.floor((at.regionsDone / at.regionsTotal) * 100);
  return `, ${part} % of ${at.regionsTotal} regions copied (${formatSizeBytes(at.copiedBytes)})`;
}
