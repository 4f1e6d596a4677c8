import type { Cluster } from '../../client/index.js';
import { asRawstorError } from '../../common/errors.js';
import { isOnlyCopy } from '../../common/whole-copies.js';
import type { ObjectInfo } from '../../protocol/index.js';
import type { Context } from '../context.js';
import { type DamagedPlace, damagedPlaces, damageText } from '../damaged-places.js';
import { allOsts, allPages, shortId } from '../volumes.js';
import { RecoveryProgressLine, recoverAll } from './run.js';

/** Moving everything off an OST: for a drain, and for one that is gone. */

export interface EvacuationRow {
  volume: string;
  id: string;
  /** Where its copy goes; null where it has none there any more, or cannot go anywhere. */
  to: string | null;
  state: 'to move' | 'moved' | 'not possible' | 'in use' | 'waiting';
  detail: string;
  /** No other copy is complete. */
  onlyCopy: boolean;
  /** Blocks that came along as damaged: no replica has them. */
  damaged: DamagedPlace[];
}

const LOOK_MS = 500;

export function objectsOn(cluster: Cluster, ostId: string, timeoutMs: number): Promise<ObjectInfo[]> {
  return allPages(
    async (page) => (await cluster.mds.call('mds.objectsOn', { ostId, ...page }, timeoutMs)).objects,
  );
}

/** What would happen, by the present state of things. */
export async function planEvacuation(
  context: Context,
  cluster: Cluster,
  ostId: string,
): Promise<EvacuationRow[]> {
  const { timeout } = context.globals;
  const rows: EvacuationRow[] = [];
  for (const object of await objectsOn(cluster, ostId, timeout)) {
    rows.push(await wish(cluster, object, ostId, { dryRun: true, timeoutMs: timeout }));
  }
  return rows;
}

/**
 * Moves everything, and looks again until nothing is there. Volumes in use are moved by their holders; may be
 * begun again at any time.
 * @returns what could not be moved, and what was
 */
export async function evacuate(
  context: Context,
  cluster: Cluster,
  ostId: string,
  signal: AbortSignal,
): Promise<EvacuationRow[]> {
  const timeoutMs = context.globals.timeout;
  const rows = new Map<string, EvacuationRow>();
  const known = new Map<string, ObjectInfo>();
  const line = new RecoveryProgressLine();
  const shown = context.progress(`OST ${shortId(ostId)}`, 0);
  try {
    for (;;) {
      const objects = await objectsOn(cluster, ostId, timeoutMs);
      const left = new Set(objects.map(({ id }) => id));
      for (const row of rows.values()) if (!left.has(row.id)) row.state = 'moved';
      for (const object of objects) {
        const row = await wish(cluster, object, ostId, { dryRun: false, timeoutMs });
        rows.set(object.id, { ...row, to: row.to ?? rows.get(object.id)?.to ?? null });
        known.set(object.id, object);
      }
      const movable = objects.filter(({ id }) => rows.get(id)!.state !== 'not possible');
      const free = movable.filter(({ lease }) => lease === null);
      const done = recoverAll(context, cluster, free, signal, line);
      const outcomes = await withProgress(done, () => shown.units(line.regions()), context);
      let stuck = true;
      for (const { id, outcome, detail } of outcomes) {
        const row = rows.get(id)!;
        row.state = outcome === 'recovered' ? 'moved' : outcome === 'in use' ? 'in use' : 'waiting';
        row.detail = detail;
        if (outcome !== 'waiting' && outcome !== 'failed') stuck = false;
      }
      if (movable.some(({ lease }) => lease !== null)) stuck = false;
      if (objects.length === 0 || movable.length === 0 || stuck) break;
      await context.clock.sleep(LOOK_MS);
      if (signal.aborted) throw signal.reason;
    }
  } finally {
    shown.end();
  }
  const all = [...rows.values()];
  await findDamage(context, cluster, all, known);
  return all;
}

/** Of what was moved, where it is now. */
async function findDamage(
  context: Context,
  cluster: Cluster,
  rows: readonly EvacuationRow[],
  volumes: ReadonlyMap<string, ObjectInfo>,
): Promise<void> {
  const moved = rows.filter(({ state }) => state === 'moved');
  const targets = new Set(moved.map(({ to }) => to));
  const osts = (await allOsts(cluster, context.globals.timeout)).filter(({ ostId }) => targets.has(ostId));
  const places = await damagedPlaces(context, osts, [...volumes.values()]);
  for (const row of moved) {
    row.damaged = places.filter(({ id, ostId }) => id === row.id && ostId === row.to);
    if (row.damaged.length > 0) row.detail = damageText(row.damaged);
  }
}

async function withProgress<T>(work: Promise<T>, show: () => void, context: Context): Promise<T> {
  const timer = context.clock.every(200, show);
  try {
    return await work;
  } finally {
    timer.cancel();
  }
}

/** Says at the MDS that what an object has on the OST is wanted elsewhere. */
async function wish(
  cluster: Cluster,
  object: ObjectInfo,
  ostId: string,
  { dryRun, timeoutMs }: { dryRun: boolean; timeoutMs: number },
): Promise<EvacuationRow> {
  const { id, name, wanted } = object;
  const onlyCopy = isOnlyCopy(object, ostId);
  const row = { volume: name, id, to: null, detail: '', onlyCopy, damaged: [] };
  const placed = object.map.pool.some((target) => target.ostId === ostId);
  const coming = wanted?.to === ostId;
  // Only a copy that is to be deleted: whoever opens it says so.
  if (!placed && !coming) return { ...row, onlyCopy: false, state: 'to move' };
  try {
    const from = placed ? ostId : (wanted?.from ?? null);
    if (from === null) {
      if (!dryRun) await cluster.mds.call('mds.cancelMove', { id }, timeoutMs);
      return { ...row, onlyCopy: false, state: 'to move' };
    }
    const answer = await cluster.mds.call('mds.move', { id, from, to: null, dryRun }, timeoutMs);
    return { ...row, to: answer.wanted.to, state: 'to move' };
  } catch (error) {
    const failure = asRawstorError(error);
    // Another move of it is under way: this one is asked for when that is over.
    if (failure.code === 'BUSY') return { ...row, state: 'in use', detail: failure.message };
    const where = failure.where === undefined ? '' : ` (${failure.where})`;
    const hint = failure.hint === undefined ? '' : `: ${failure.hint}`;
    return { ...row, state: 'not possible', detail: failure.message + where + hint };
  }
}
