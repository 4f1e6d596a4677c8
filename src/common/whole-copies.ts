import { type PlacementMap, placeChunkOf } from './placement.js';

/** What the question needs of an object. */
export interface Spread {
  readonly id: string;
  /** Whose id stands for its own where chunks are placed. */
  readonly placeAs?: string | undefined;
  readonly map: PlacementMap;
  readonly replicas: number;
  readonly sizeBytes: number;
  readonly chunkSizeBytes: number;
  /** The largest size it ever had, where that is not the present one: replicas may have something up to there. */
  readonly reachBytes?: number | undefined;
}

interface Copies extends Spread {
  readonly members: readonly { readonly ostId: string; readonly state: 'in-sync' | 'stale' }[];
}

/** Half a second of looking, in which a guest may wait. Of what is more nobody is promised that it is whole. */
const CHUNKS_SEARCHED = 1 << 18;

/** Snapshots may be longer than the object, and what is behind the end is to be the same on all, for it may grow again. */
export function reachOf({ sizeBytes, reachBytes = 0 }: Pick<Spread, 'sizeBytes' | 'reachBytes'>): number {
  return Math.max(sizeBytes, reachBytes);
}

/** The first chunk that has, or may have, no replica on any of these OSTs; null where every one has. */
export function chunkWithout(object: Spread, osts: ReadonlySet<string>): number | null {
  const { map, replicas } = object;
  const has = (ostId: string) => osts.has(ostId);
  if (!map.pool.some(({ ostId }) => has(ostId))) return 0;
  const plain = map.exceptions.length === 0;
  const domains = new Set(map.pool.map(({ domain }) => domain));
  const gone = new Set(map.pool.filter(({ ostId }) => !has(ostId)).map(({ domain }) => domain));
  // No two replicas of a chunk share a domain.
  if (plain && domains.size >= replicas && gone.size < replicas) return null;
  const chunks = Math.ceil(reachOf(object) / object.chunkSizeBytes);
  const last = plain && map.rule === 'fixed' ? 1 : Math.min(chunks, CHUNKS_SEARCHED);
  for (let chunk = 0; chunk < last; chunk++) {
    if (!placeChunkOf(object, chunk).some(has)) return chunk;
  }
  return last === CHUNKS_SEARCHED && chunks > last ? last : null;
}

export function everyChunkOn(object: Spread, osts: ReadonlySet<string>): boolean {
  return chunkWithout(object, osts) === null;
}

/** Some chunk has, or may have, no other replica in sync than the one there. */
export function isOnlyCopy(object: Copies, ostId: string): boolean {
  const others = object.members.filter((member) => member.state === 'in-sync' && member.ostId !== ostId);
  return !everyChunkOn(object, new Set(others.map((member) => member.ostId)));
}
