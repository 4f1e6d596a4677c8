import { hashBytes, mix32, negativeLog } from './hash.js';
import { parseId } from './ids.js';

/** What placement needs of a chunk map (protocol/records has the whole shape). */
export interface PlacementMap {
  readonly rule: 'fixed' | 'hash';
  readonly pool: readonly PlacementTarget[];
  /** Domain whose OST comes first among the replicas of rule `hash`, '' for none. */
  readonly nearDomain: string;
  readonly exceptions: readonly { readonly chunk: number; readonly ostIds: readonly string[] }[];
}

export interface PlacementTarget {
  readonly ostId: string;
  /** Share of the chunks, relative to the others'. */
  readonly weight: number;
  /** Two replicas are never in one domain. */
  readonly domain: string;
  /** Id of the OST whose place this one took, whose draws it has; its own where undefined. */
  readonly drawAs?: string | undefined;
}

const drawId = (target: PlacementTarget) => target.drawAs ?? target.ostId;

const OST_SEED_LOW = 0x6f737461;
const OST_SEED_HIGH = 0x6f737462;
const OBJECT_SEED = 0x6f626a31;

/**
 * Where the chunks of one object are: a pure function of the map, the ids and the chunk, the same on every
 * machine and in every version. Weighted rendezvous: each OST of the pool draws a number for the chunk from
 * a hash, -ln(u) / weight, and the lowest ones of distinct domains hold the replicas.
 */
export class Placement {
  private readonly replicas: number;
  private readonly fixed: readonly string[] | null;
  private readonly exceptions: ReadonlyMap<number, readonly string[]>;
  private readonly objectHash: number;
  private readonly ostIds: string[];
  private readonly seedLow: Uint32Array;
  private readonly seedHigh: Uint32Array;
  private readonly weights: Float64Array;
  private readonly domains: Int32Array;
  private readonly near: number;
  private readonly scores: Float64Array;
  private readonly taken: Int32Array;

  /** @throws RawstorError INVALID for an id that is none */
  constructor(map: PlacementMap, objectId: string, replicas: number) {
    this.replicas = replicas;
    this.exceptions = new Map(map.exceptions.map((e) => [e.chunk, e.ostIds]));
    this.fixed = map.rule === 'fixed' ? map.pool.slice(0, replicas).map((t) => t.ostId) : null;
    this.objectHash = hashBytes(parseId(objectId), OBJECT_SEED);
    // By id, so that the order in which a pool happens to be listed never decides a draw.
    const pool = [...map.pool].sort((a, b) => (drawId(a) < drawId(b) ? -1 : 1));
    const names = new Map<string, number>();
    for (const target of pool) if (!names.has(target.domain)) names.set(target.domain, names.size);
    this.ostIds = pool.map((t) => t.ostId);
    this.seedLow = Uint32Array.from(pool, (t) => hashBytes(parseId(drawId(t)), OST_SEED_LOW));
    this.seedHigh = Uint32Array.from(pool, (t) => hashBytes(parseId(drawId(t)), OST_SEED_HIGH));
    this.weights = Float64Array.from(pool, (t) => t.weight);
    this.domains = Int32Array.from(pool, (t) => names.get(t.domain)!);
    this.near = map.nearDomain === '' ? -1 : (names.get(map.nearDomain) ?? -1);
    this.scores = new Float64Array(pool.length);
    this.taken = new Int32Array(replicas);
  }

  /** OST ids of the chunk's replicas, the one to read from first; fewer than asked only if the map has too few domains. */
  place(chunk: number): readonly string[] {
    const exception = this.exceptions.get(chunk);
    if (exception !== undefined) return exception;
    return this.fixed ?? this.draw(chunk);
  }

  private draw(chunk: number): string[] {
    const chunkHash = mix32((this.objectHash + 0x9e3779b9) ^ mix32(chunk));
    for (let i = 0; i < this.scores.length; i++) {
      const word = mix32(mix32(chunkHash ^ this.seedLow[i]!) ^ this.seedHigh[i]!);
      this.scores[i] = negativeLog(word) / this.weights[i]!;
    }
    const chosen: string[] = [];
    while (chosen.length < this.replicas) {
      const wanted = chosen.length === 0 ? this.near : -1;
      const best = this.lowest(wanted, chosen.length);
      if (best < 0) break;
      this.taken[chosen.length] = this.domains[best]!;
      chosen.push(this.ostIds[best]!);
    }
    return chosen;
  }

  /** Index of the lowest score outside the domains taken so far; in domain `wanted` only, unless it is -1. */
  private lowest(wanted: number, takenCount: number): number {
    let best = -1;
    next: for (let i = 0; i < this.scores.length; i++) {
      const domain = this.domains[i]!;
      if (wanted >= 0 && domain !== wanted) continue;
      for (let t = 0; t < takenCount; t++) if (this.taken[t] === domain) continue next;
      if (best < 0 || this.scores[i]! < this.scores[best]!) best = i;
    }
    return best;
  }
}

const prepared = new WeakMap<PlacementMap, { objectId: string; replicas: number; placement: Placement }>();

/**
 * OST ids of one chunk's replicas, first replica first. What can be prepared is kept with the map object, so
 * that asking for chunk after chunk of the same map is cheap; the map must not be changed in place.
 */
export function placeChunk(
  map: PlacementMap,
  objectId: string,
  replicas: number,
  chunk: number,
): readonly string[] {
  let entry = prepared.get(map);
  if (entry === undefined || entry.objectId !== objectId || entry.replicas !== replicas) {
    entry = { objectId, replicas, placement: new Placement(map, objectId, replicas) };
    prepared.set(map, entry);
  }
  return entry.placement.place(chunk);
}

/** What of an object says where its chunks are. */
export interface Placed {
  readonly id: string;
  /** Another object whose chunks it is placed like. */
  readonly placeAs?: string | undefined;
  readonly map: PlacementMap;
  readonly replicas: number;
}

/** As `placeChunk`, for an object with its present map. */
export function placeChunkOf(object: Placed, chunk: number): readonly string[] {
  return placeChunk(object.map, object.placeAs ?? object.id, object.replicas, chunk);
}
