import { RawstorError } from '../common/errors.js';
import { chunkWithout } from '../common/whole-copies.js';
import type { Member, ObjectRecord } from '../protocol/index.js';

/** What becomes of an object's members with a change of its in-sync set: pure, and what may not be is refused. */

export function checkKnown(object: ObjectRecord, members: readonly Member[]): void {
  const known = new Set([...object.map.pool, ...object.members].map((m) => m.ostId));
  const pool = new Set(object.map.pool.map((t) => t.ostId));
  const seen = new Set<string>();
  for (const { ostId, state } of members) {
    const where = object.name;
    if (seen.has(ostId)) throw new RawstorError('INVALID', `OST ${ostId} is named twice`, { where });
    seen.add(ostId);
    if (!known.has(ostId) || (state === 'in-sync' && !pool.has(ostId))) {
      throw new RawstorError('INVALID', `OST ${ostId} is not among the OSTs of this object`, { where });
    }
  }
}

export function nextMembers(
  object: ObjectRecord,
  wished: ReadonlyMap<string, Member>,
  lastSeal: number,
  loss = false,
): Member[] {
  const members = object.members.map((was) => nextMember(was, wished.get(was.ostId), lastSeal, loss));
  for (const { ostId } of object.map.pool) {
    if (object.members.some((m) => m.ostId === ostId)) continue;
    // New to the object: all of it may differ.
    const none: Member = { ostId, state: 'stale', bootId: null, staleSince: 0 };
    members.push(nextMember(none, wished.get(ostId), lastSeal));
  }
  return members;
}

/** @param loss it may stay in sync although it has lost what it had kept */
export function nextMember(was: Member, wish: Member | undefined, lastSeal: number, loss = false): Member {
  const { ostId } = was;
  // One that is about to be dropped for that has to be known by it until it is.
  const stays = !loss && was.state === 'in-sync' && wish?.state === 'in-sync';
  const keptEpoch = stays ? laterOf(was, wish) : (wish?.keptEpoch ?? was.keptEpoch);
  const kept = keptEpoch === undefined ? {} : { keptEpoch };
  if (wish?.state !== 'in-sync') {
    const bootId = wish?.bootId ?? was.bootId;
    const since = was.state === 'stale' ? Math.min(was.staleSince, lastSeal + 1) : lastSeal + 1;
    return { ostId, state: 'stale', bootId, staleSince: hasForgotten(was, keptEpoch) ? 0 : since, ...kept };
  }
  // Without the boot id under which it holds the data, a later loss on it could not be told.
  if (wish.bootId === null && (was.bootId !== null || was.state === 'stale')) {
    throw new RawstorError('INVALID', `OST ${ostId} cannot be in sync without its boot id`);
  }
  return { ostId, state: 'in-sync', bootId: wish.bootId, staleSince: 0, ...kept };
}

/**
 * With what each is told to have kept. One that has lost what it had kept is an older copy of itself: while it is stale, all of it may
 * differ; while it is in sync it is told from that, and has to be dropped.
 */
export function withKept(members: readonly Member[], told: readonly Member[] | undefined): Member[] {
  const wishes = new Map(told?.map((member) => [member.ostId, member]));
  return members.map((was) => {
    const wish = wishes.get(was.ostId);
    const keptEpoch = was.state === 'in-sync' ? laterOf(was, wish) : (wish?.keptEpoch ?? was.keptEpoch);
    if (keptEpoch === undefined) return was;
    const staleSince = hasForgotten(was, keptEpoch) ? 0 : was.staleSince;
    return { ...was, staleSince, keptEpoch };
  });
}

function laterOf(was: Member, wish: Member | undefined): number | undefined {
  return hasForgotten(was, wish?.keptEpoch) ? was.keptEpoch : (wish?.keptEpoch ?? was.keptEpoch);
}

/** 0 says so whatever is on record: that may be one change behind what its writer knows. */
const hasForgotten = (was: Member, keptEpoch: number | undefined): boolean =>
  keptEpoch !== undefined && (keptEpoch === 0 || keptEpoch < (was.keptEpoch ?? 0));

/**
 * A loss may have made a stale member a source again, or left one in the set that was put back from an older copy. What it
 * missed since it was dropped, or since that copy, then differs from what others hold, so "identical up to" goes back to before that.
 */
export function sealAfterLoss(object: ObjectRecord, wished: ReadonlyMap<string, Member>): number {
  let lastSeal = object.lastSeal;
  for (const was of object.members) {
    const wish = wished.get(was.ostId);
    if (wish?.state !== 'in-sync') continue;
    if (hasForgotten(was, wish.keptEpoch)) return 0;
    if (was.state !== 'stale') continue;
    lastSeal = Math.min(lastSeal, Math.max(0, was.staleSince - 1));
  }
  return lastSeal;
}

/**
 * The last member that holds everything is never dropped; without a decided loss that holds for every chunk
 * of an object that is spread over more OSTs than it has replicas.
 */
export function checkSurvivors(object: ObjectRecord, members: readonly Member[], decided: boolean): void {
  const { name: where } = object;
  if (!members.some((m) => m.state === 'in-sync')) {
    throw new RawstorError('INVALID', 'the last in-sync OST is never dropped', { where });
  }
  if (decided) return;
  const wasInSync = new Set(object.members.filter((m) => m.state === 'in-sync').map((m) => m.ostId));
  const survives = new Set(
    members.filter((m) => m.state === 'in-sync' && wasInSync.has(m.ostId)).map((m) => m.ostId),
  );
  const hint = 'it holds the last copy: bring it back, or accept the loss';
  if (survives.size === 0) {
    throw new RawstorError('INVALID', 'no OST that was in sync remains in the set', { where, hint });
  }
  const chunk = chunkWithout(object, survives);
  if (chunk === null) return;
  throw new RawstorError('INVALID', `chunk ${chunk} would have no in-sync replica left`, { where, hint });
}
