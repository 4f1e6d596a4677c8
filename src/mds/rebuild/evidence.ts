import type {
  CatalogEntry,
  KeptObject,
  Member,
  ObjectRecord,
  ObjectVersions,
  OstInfo,
} from '../../protocol/index.js';
import type { StoredObject } from '../stored-object.js';

/** What one OST said when it was asked for all it knows. */
export interface OstScan {
  readonly info: OstInfo;
  /** '' when it never met a cluster. */
  readonly clusterId: string;
  /** Of its hello: tells the same server at two addresses from two servers on copies of one directory. */
  readonly process: string;
  readonly objects: readonly KeptObject[];
}

/** An OST, with what no OST knows of itself. */
export type DumpedOst = OstInfo & { readonly removed?: boolean };

/** What a dump of an older MDS said: one more witness, which knows names and marks but maybe of long ago. */
export interface DumpedMds {
  readonly clusterId: string;
  readonly osts: readonly DumpedOst[];
  readonly objects: readonly StoredObject[];
  /** Removed objects whose OSTs had not all confirmed it. */
  readonly removed: readonly { readonly objectId: string; readonly ostIds: readonly string[] }[];
  /** Copies that OSTs were still to delete, the object living elsewhere. */
  readonly left: readonly { readonly ostId: string; readonly objectId: string; readonly epoch: number }[];
  /** Rows that facades keep: all below the revision. Null: of a version that had none. */
  readonly catalog: { readonly revision: number; readonly rows: readonly CatalogEntry[] } | null;
}

/** Everything said about one object. */
export interface Evidence {
  readonly id: string;
  /** By OST. */
  readonly kept: Map<string, KeptObject & { record: ObjectRecord }>;
  readonly removedOn: Set<string>;
  dumped: StoredObject | null;
  removedInDump: boolean;
}

/** By object id. */
export function gather(scans: readonly OstScan[], dump: DumpedMds | null): Map<string, Evidence> {
  const found = new Map<string, Evidence>();
  const of = (id: string): Evidence => {
    let evidence = found.get(id);
    if (evidence === undefined) {
      evidence = { id, kept: new Map(), removedOn: new Set(), dumped: null, removedInDump: false };
      found.set(id, evidence);
    }
    return evidence;
  };
  for (const { info, objects } of scans) {
    for (const kept of objects) {
      if (kept.removedWallMs !== null) of(kept.id).removedOn.add(info.ostId);
      else if (kept.record !== null) of(kept.id).kept.set(info.ostId, { ...kept, record: kept.record });
    }
  }
  for (const stored of dump?.objects ?? []) of(stored.object.id).dumped = stored;
  for (const { objectId } of dump?.removed ?? []) of(objectId).removedInDump = true;
  return found;
}

/** One record of an in-sync set. */
export interface Claim {
  readonly epoch: number;
  readonly members: readonly Member[];
  readonly lastSeal: number;
  readonly lossWallMs: number | null;
  /** As they were with the set, where that is known. */
  readonly versions?: ObjectVersions | undefined;
  /** OSTs that may be in a newer set that nobody else has heard of. */
  readonly joining: readonly string[];
}

export function claims({ kept, dumped }: Evidence): Claim[] {
  const found: Claim[] = [];
  for (const { record, set, lastSeal, lossWallMs } of kept.values()) {
    if (set !== null) found.push({ ...set, joining: set.joining ?? [], lastSeal, lossWallMs });
    // An attach brings the set as well, but no word of a loss: what a set says of that stays in force.
    const { epoch, members, lastSeal: sealed } = record;
    found.push({ epoch, members, lastSeal: sealed, lossWallMs, joining: [] });
  }
  if (dumped !== null) {
    const { epoch, members, lastSeal } = dumped.object;
    found.push({ epoch, members, lastSeal, lossWallMs: dumped.lossWallMs, joining: [] });
  }
  return found;
}

export const inSyncOf = (members: readonly Member[]): string[] =>
  members.filter((member) => member.state === 'in-sync').map((member) => member.ostId);

const sameSet = (a: readonly Member[], b: readonly Member[]) =>
  inSyncOf(a).sort().join() === inSyncOf(b).sort().join();

/**
 * The claim of the highest epoch. Claims of one epoch come from one change at the MDS, so they name the same OSTs in
 * sync; where they differ in less, what makes more be copied counts.
 * @returns null when they contradict each other
 */
export function newestClaim(all: readonly Claim[]): Claim | null {
  const epoch = Math.max(...all.map((claim) => claim.epoch));
  const [first, ...others] = all.filter((claim) => claim.epoch === epoch);
  let newest = first!;
  for (const claim of others) {
    if (!sameSet(newest.members, claim.members)) return null;
    const since = new Map(claim.members.map((member) => [member.ostId, member.staleSince]));
    const members = newest.members.map((member) => ({
      ...member,
      staleSince: Math.min(member.staleSince, since.get(member.ostId) ?? member.staleSince),
    }));
    const lastSeal = Math.min(newest.lastSeal, claim.lastSeal);
    const joining = [...newest.joining, ...claim.joining];
    const versions = newest.versions ?? claim.versions;
    newest = {
      epoch,
      members,
      lastSeal,
      lossWallMs: newest.lossWallMs ?? claim.lossWallMs,
      versions,
      joining,
    };
  }
  return newest;
}

/** What never changes while an object lives, or not without an epoch. */
export function contradiction(records: readonly ObjectRecord[]): string | null {
  const [first, ...others] = records;
  for (const other of others) {
    for (const field of ['mode', 'chunkSizeBytes', 'createdWallMs'] as const) {
      if (first![field] !== other[field]) return `records of it differ in ${field}`;
    }
  }
  const byEpoch = new Map<number, ObjectRecord>();
  for (const record of records) {
    const same = byEpoch.get(record.epoch);
    if (same === undefined) byEpoch.set(record.epoch, record);
    else {
      for (const field of ['name', 'sizeBytes', 'replicas', 'headVersion', 'map'] as const) {
        if (JSON.stringify(same[field]) === JSON.stringify(record[field])) continue;
        return `records of epoch ${record.epoch} differ in ${field}`;
      }
    }
  }
  return null;
}
