import type { LayerRun, Mark } from '../block/device.js';
import { RawstorError } from '../common/errors.js';
import type { ObjectInfo } from '../protocol/object-info.js';
import type { Snapshot } from '../protocol/records.js';
import { snapshotsBelow } from '../protocol/version-messages.js';
import { askInSync, type ChunkRange, chunkMap, type StateRun } from './extents.js';
import type { Member } from './member.js';
import { VolumeRequest } from './records.js';
import type { VolumeState } from './volume-state.js';

/** What of a volume changed since a snapshot: docs/snapshots.md. */

/** Depth of what nobody can tell of: in the topmost layer, and so changed. */
export const UNKNOWN_DEPTH = 1;

/** Snapshots that a version can be compared with, oldest first. */
export function marksOf(object: ObjectInfo, version: number | 'head'): Mark[] {
  return snapshotsBelow(object, version).map(({ name, version: of }) => ({ name: name!, version: of }));
}

/** @throws RawstorError NOT_FOUND when the snapshot is gone, INVALID when the version does not lie over it */
export function checkMark(object: ObjectInfo, version: number | 'head', mark: Mark): void {
  const isMark = (one: Snapshot) => one.version === mark.version && one.name !== null;
  if (snapshotsBelow(object, version).some(isMark)) return;
  const where = `${object.name}@${mark.name}`;
  if (object.snapshots.some(isMark) || mark.version === version) {
    throw new RawstorError('INVALID', 'that snapshot is none of those that lie below', {
      where,
      hint: 'only what a volume was before, on its own line of snapshots, can be compared with',
    });
  }
  throw new RawstorError('NOT_FOUND', 'the snapshot is gone: what changed since then is not known any more', {
    where,
    hint: 'take a full copy, or what changed since another snapshot',
  });
}

export function layerRunsOf(runs: readonly StateRun[]): LayerRun[] {
  return runs.map(({ lengthBytes, state }) => ({ lengthBytes, depth: state }));
}

/** Layers of a range of what the volume is now, from one in-sync member for each chunk. @throws RawstorError NOT_FOUND, INVALID */
export async function readLayers(
  state: VolumeState,
  since: Mark | null,
  offset: number,
  length: number,
): Promise<LayerRun[]> {
  const check = () => {
    if (since !== null) checkMark(state.object, 'head', since);
  };
  check();
  const end = Math.min(offset + length, state.object.sizeBytes);
  const writing = since === null ? [] : writesIn(state, offset, end);
  const ask = async ({ peer, handle, headVersion: of }: Member, range: ChunkRange) =>
    (await peer!.call('ost.changed', { handle, of, since: since?.version ?? 0, ...range })).runs;
  const runsOf = (range: ChunkRange) => askInSync(state, range, ask, UNKNOWN_DEPTH, check);
  const runs = layerRunsOf(await chunkMap(offset, end, state.object.chunkSizeBytes, runsOf));
  return writing.reduce((told, [from, until]) => overlaid(told, from - offset, until - offset), runs);
}

/** Ranges that are being changed: whoever reads them next may see what no OST told of. */
function writesIn({ locks }: VolumeState, offset: number, end: number): [from: number, until: number][] {
  const ranges: [number, number][] = [];
  locks.forEachExclusive((from, until, holder) => {
    // Copies change nothing of what members in sync have.
    if (!(holder instanceof VolumeRequest)) return;
    if (from < end && offset < until) ranges.push([Math.max(from, offset), Math.min(until, end)]);
  });
  return ranges;
}

/** Runs, with what is unchanged between two places in them told as changed. */
export function overlaid(runs: readonly LayerRun[], from: number, until: number): LayerRun[] {
  const made: LayerRun[] = [];
  const add = (lengthBytes: number, depth: number) => {
    if (lengthBytes <= 0) return;
    const last = made.at(-1);
    if (last !== undefined && last.depth === depth) last.lengthBytes += lengthBytes;
    else made.push({ lengthBytes, depth });
  };
  let at = 0;
  for (const { lengthBytes, depth } of runs) {
    const end = at + lengthBytes;
    const [first, last] = [Math.min(Math.max(from, at), end), Math.min(Math.max(until, at), end)];
    add(first - at, depth);
    add(last - first, depth === 0 ? UNKNOWN_DEPTH : depth);
    add(end - last, depth);
    at = end;
  }
  return made;
}
