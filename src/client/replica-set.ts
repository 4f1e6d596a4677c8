import { everyChunkOn } from '../common/whole-copies.js';
import { type BootId, type Member, type ObjectRecord, sameBootId } from '../protocol/records.js';

/**
 * Decisions about an in-sync set: pure functions over what is known, so that they are tested and simulated
 * without a cluster.
 */

/**
 * True when every chunk keeps at least one in-sync replica after `drop` leaves the set. The last in-sync
 * holder of a chunk is never dropped: without it nobody knows the newest data.
 */
export function canDrop(
  object: ObjectRecord,
  inSync: ReadonlySet<string>,
  drop: ReadonlySet<string>,
): boolean {
  return everyChunkOn(object, new Set([...inSync].filter((ostId) => !drop.has(ostId))));
}

/** What an open found about one member that was in sync. */
export interface OpenFinding {
  readonly ostId: string;
  readonly reachable: boolean;
  readonly recordedBootId: BootId | null;
  readonly bootId: BootId | null;
  /** Some region there is newer than the last seal. */
  readonly hasNewer: boolean;
  /** It was put back from an older copy of itself. */
  readonly older?: boolean;
  /** Of the set that it keeps. */
  readonly storedEpoch?: number;
}

export interface OpenDecision {
  /** Members that leave the set. */
  readonly drop: Set<string>;
  /** All that is left lost unflushed writes: recorded, and reported at the next flush and at every open (I8). */
  readonly loss: boolean;
  /** Not to be decided now: these have to come back first. */
  readonly waitFor: readonly string[];
}

/**
 * Who is in the set after an open (I7, I8). A suspect has another boot id than recorded while some member has
 * regions newer than the last seal: it may have lost what was acknowledged; or it lacks what it had kept for good. It leaves while an unsuspected
 * member of each of its chunks stays; the last unsuspected one is waited for, reachable or not.
 * @param unheard after a rebuild of the MDS, OSTs that may know of a newer set and are away: all are waited for
 */
export function decideOpen(
  object: ObjectRecord,
  findings: readonly OpenFinding[],
  wasClean: boolean,
  acceptLoss: boolean,
  unheard: readonly string[] | null = null,
): OpenDecision {
  const inSync = new Set(findings.map((finding) => finding.ostId));
  const anyNewer = !wasClean && findings.some((finding) => finding.hasNewer);
  const suspect = ({ reachable, recordedBootId, bootId, older = false }: OpenFinding) =>
    reachable && (older || (anyNewer && recordedBootId !== null && !sameBootId(recordedBootId, bootId)));
  const unreachable = findings.filter((finding) => !finding.reachable);
  // Those first that lack most: of two, one that lost what was not flushed stays, and not one that lacks what was.
  const suspects = findings.filter(suspect).sort(byLack);
  const drop = new Set<string>();
  const unknown = unheard !== null && unheard.length > 0;
  if (unknown && !acceptLoss) return { drop, loss: false, waitFor: unheard };

  // Suspects first: what is left must hold every chunk without them, reachable or not.
  const suspectIds = new Set(suspects.map((finding) => finding.ostId));
  const unreachableIds = new Set(unreachable.map((finding) => finding.ostId));
  const bad = new Set([...suspectIds, ...unreachableIds]);
  if (bad.size === 0 || canDrop(object, inSync, bad)) {
    return { drop: bad, loss: unknown, waitFor: [] };
  }
  if (unreachable.length > 0) {
    // Some chunk has no good reachable holder. An unreachable one may still have everything: wait for it,
    // unless the user gives it up and something reachable is left.
    const reachableHolds = canDrop(object, inSync, unreachableIds);
    if (!(acceptLoss && reachableHolds)) {
      const needed = unreachable.map((finding) => finding.ostId);
      return { drop, loss: false, waitFor: needed };
    }
    for (const id of unreachableIds) drop.add(id);
  }
  // Only suspects hold some chunk: one of each is the source and the loss is on record. Drop those others allow.
  for (const id of suspectIds) {
    const more = new Set([...drop, id]);
    if (canDrop(object, inSync, more)) drop.add(id);
  }
  return { drop, loss: true, waitFor: [] };
}

type Lacking = Pick<OpenFinding, 'older' | 'storedEpoch'>;

/** Who was put back from an older copy first, and of these the oldest. */
export function byLack(a: Lacking, b: Lacking): number {
  return Number(b.older === true) - Number(a.older === true) || (a.storedEpoch ?? 0) - (b.storedEpoch ?? 0);
}

/** The members as recorded after a change. `staleSince` of the newly dropped is set by the MDS. */
export function changedMembers(
  members: readonly Member[],
  change: {
    drop?: ReadonlySet<string>;
    join?: ReadonlyMap<string, BootId>;
    bootIds?: ReadonlyMap<string, BootId>;
  },
): Member[] {
  return members.map((member) => {
    if (change.drop?.has(member.ostId)) return { ...member, state: 'stale' };
    const joined = change.join?.get(member.ostId);
    if (joined !== undefined) return { ...member, state: 'in-sync', bootId: joined, staleSince: 0 };
    const bootId = change.bootIds?.get(member.ostId);
    return bootId === undefined ? { ...member } : { ...member, bootId };
  });
}
