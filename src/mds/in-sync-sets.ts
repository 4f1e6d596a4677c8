import { RawstorError } from '../common/errors.js';
import {
  type ChunkMap,
  type Member,
  type ObjectRecord,
  type ObjectVersions,
  type Params,
  parentOn,
  parentWithout,
  versionsOf,
} from '../protocol/index.js';
import {
  checkKnown,
  checkSurvivors,
  nextMember,
  nextMembers,
  sealAfterLoss,
  withKept,
} from './next-members.js';
import { ANSWERED_KEPT, type AnsweredRequest, type StoredObject } from './stored-object.js';

/**
 * The compare-and-swaps of an object's in-sync set and last seal (docs: consistency, terms "in-sync set" and
 * "seal", I6 to I9), as pure functions from a stored object to the next one.
 */
export interface Change {
  /** Null when the request was recorded before and is only answered again. */
  readonly stored: StoredObject | null;
  readonly epoch: number;
}

/**
 * Records a new in-sync set. Members left out count as stale. What the client says of `staleSince` is not
 * taken: a member dropped now is stale since the last seal + 1, one dropped before since then.
 * @param nowWallMs wall time for a loss mark
 * @throws RawstorError FENCED, CONFLICT, INVALID
 */
export function changeMembers(
  stored: StoredObject,
  request: Params<'mds.changeMembers'>,
  nowWallMs: number,
): Change {
  const before = answeredBefore(stored, 'changeMembers', request);
  if (before !== null) return before;
  checkSession(stored, request);
  const known = withoutParentOn(asWriterKnows(stored, request), request.withoutParent);
  if (request.adopt !== undefined) return adoptMap(known, request);
  const { object } = known;
  checkKnown(object, request.members);
  const wished = new Map(request.members.map((m) => [m.ostId, m]));
  const lastSeal = request.loss ? sealAfterLoss(object, wished) : object.lastSeal;
  const members = nextMembers(object, wished, lastSeal, request.loss);
  checkSurvivors(object, members, request.loss || isRebuilt(stored));
  const lossWallMs = request.loss ? (stored.lossWallMs ?? nowWallMs) : stored.lossWallMs;
  const lossEpoch = request.loss ? { lossEpoch: nextEpoch(object) } : {};
  return record(
    { ...known, lossWallMs, object: { ...object, ...lossEpoch, members, lastSeal } },
    'changeMembers',
    request,
  );
}

/**
 * The end of a move: the wanted map is taken, its new OST joins, and who has no place in it any more leaves. The
 * new one holds what its sources held, as after any resync, so it counts among those that keep a chunk.
 */
function adoptMap(stored: StoredObject, request: Params<'mds.changeMembers'>): Change {
  const { object, wanted } = stored;
  const where = object.name;
  if (wanted === null || wanted.id !== request.adopt) {
    throw new RawstorError('NOT_FOUND', 'that move is not wanted any more', { where });
  }
  if (request.loss) throw new RawstorError('INVALID', 'no move goes with a loss', { where });
  const { map, to } = wanted;
  const { object: moved, pool } = onMap(object, map);
  const staying = moved.members;
  checkKnown(moved, request.members);
  const wished = new Map(request.members.map((m) => [m.ostId, m]));
  const none: Member = { ostId: to, state: 'stale', bootId: null, staleSince: 0 };
  const joined = nextMember(none, wished.get(to), object.lastSeal);
  if (joined.state !== 'in-sync') {
    throw new RawstorError('INVALID', `OST ${to} has not joined`, { where });
  }
  const members = [
    ...staying.map((was) => nextMember(was, wished.get(was.ostId), object.lastSeal)),
    ...(staying.some(({ ostId }) => ostId === to) ? [] : [joined]),
  ];
  checkSurvivors({ ...moved, members: [...staying, joined] }, members, false);
  const gone = object.members.map(({ ostId }) => ostId).filter((ostId) => !pool.has(ostId));
  const left = [...new Set([...stored.left, ...gone])];
  const next = { ...stored, wanted: null, left, object: { ...moved, members } };
  return record(next, 'changeMembers', request);
}

/**
 * Records "every in-sync member is identical up to `seal`".
 * @throws RawstorError FENCED, CONFLICT, INVALID
 */
export function seal(stored: StoredObject, request: Params<'mds.seal'>): Change {
  const before = answeredBefore(stored, 'seal', request);
  if (before !== null) return before;
  checkSession(stored, request);
  const known = asWriterKnows(stored, request);
  const { object } = known;
  if (request.seal > object.epoch || request.seal < object.lastSeal) {
    throw new RawstorError(
      'INVALID',
      `a seal at ${request.seal} is outside ${object.lastSeal} to ${object.epoch}`,
      {
        where: object.name,
      },
    );
  }
  const members = sealedMembers(stored, object, request.members);
  return record({ ...known, object: { ...object, members, lastSeal: request.seal } }, 'seal', request);
}

/**
 * The members after a change that is none of the set, with what they are known to have kept.
 * @param object of `stored`, as the writer knows it
 * @throws RawstorError CONFLICT, INVALID
 */
export function sealedMembers(
  stored: StoredObject,
  object: ObjectRecord,
  told: readonly Member[] | undefined,
): Member[] {
  return isRebuilt(stored) ? membersOfSeal(object, told) : withKept(object.members, told);
}

/** The set of a rebuilt object may be older than the one that the writer sealed. @throws RawstorError CONFLICT, INVALID */
function membersOfSeal(object: ObjectRecord, sealed: readonly Member[] | undefined): Member[] {
  if (sealed === undefined) {
    throw new RawstorError('CONFLICT', 'a change after a rebuild has to say of whom', { where: object.name });
  }
  checkKnown(object, sealed);
  const members = nextMembers(object, new Map(sealed.map((m) => [m.ostId, m])), object.lastSeal);
  checkSurvivors(object, members, true);
  return members;
}

/** Versions and map of a rebuilt object may be older than what the writer has made since: they are as it says. */
export function asWriterKnows(
  stored: StoredObject,
  { versions, map }: { readonly versions?: ObjectVersions | undefined; readonly map?: ChunkMap | undefined },
): StoredObject {
  if (!isRebuilt(stored)) return stored;
  const { object } = stored;
  const outdated = versions === undefined || versions.headVersion < object.headVersion;
  const known = outdated ? stored : { ...stored, object: { ...object, ...versionsOf(versions) } };
  return map === undefined ? known : movedSince(known, map);
}

function withoutParentOn(stored: StoredObject, ostIds: readonly string[] = []): StoredObject {
  const parent = parentWithout(stored.object.parent, ostIds);
  return parent === stored.object.parent ? stored : { ...stored, object: { ...stored.object, parent } };
}

/** As after the end of a move that the lost MDS had recorded; what was wished since was wished of another map. */
function movedSince(stored: StoredObject, map: ChunkMap): StoredObject {
  const { object, wanted } = stored;
  const { object: moved, pool } = onMap(object, map);
  const before = [...object.map.pool, ...object.members].map(({ ostId }) => ostId);
  const left = [...stored.left, ...before, ...(wanted === null ? [] : [wanted.to])];
  return {
    ...stored,
    wanted: null,
    left: [...new Set(left)].filter((ostId) => !pool.has(ostId)),
    object: moved,
  };
}

/** With a new map, without members that have no place in it; `pool`: who has. */
function onMap(object: ObjectRecord, map: ChunkMap): { object: ObjectRecord; pool: ReadonlySet<string> } {
  const pool = new Set(map.pool.map(({ ostId }) => ostId));
  const members = object.members.filter(({ ostId }) => pool.has(ostId));
  return { object: { ...object, map, parent: parentOn(object.parent, map), members }, pool };
}

export type Swap = Pick<Params<'mds.seal'>, 'requestId' | 'sessionEpoch' | 'expectedEpoch'>;

export function answeredBefore(
  stored: StoredObject,
  method: AnsweredRequest['method'],
  swap: Swap,
): Change | null {
  const found = stored.answered.find(
    (a) => a.requestId === swap.requestId && a.sessionEpoch === swap.sessionEpoch && a.method === method,
  );
  return found === undefined ? null : { stored: null, epoch: found.epoch };
}

export function checkSession(stored: StoredObject, swap: Swap): void {
  checkCurrent(stored, swap.sessionEpoch);
  if (stored.object.epoch === swap.expectedEpoch) return;
  // One writer, and nobody else has changed anything since the rebuild: what it says is what is.
  if (isRebuilt(stored) && swap.expectedEpoch < stored.object.epoch) return;
  throw new RawstorError(
    'CONFLICT',
    `the epoch is ${stored.object.epoch}, the change was made for ${swap.expectedEpoch}`,
    { where: stored.object.name },
  );
}

/**
 * @param orClosed the session may have been closed, as long as no other followed
 * @throws RawstorError FENCED when the session is not the object's current one
 */
export function checkCurrent(stored: StoredObject, sessionEpoch: number, orClosed?: 'closed'): void {
  const { session } = stored;
  if (session.epoch !== sessionEpoch || sessionEpoch === 0) {
    throw fenced(stored, `'${session.holder}' opened it since (session ${session.epoch})`);
  }
  if (!session.open && orClosed === undefined) throw fenced(stored, 'it was closed');
}

/** Nothing was changed since a rebuild: the writer, or who took over, knows the set better. */
export function isRebuilt({ rebuiltFrom }: StoredObject): boolean {
  return rebuiltFrom !== undefined && rebuiltFrom !== null;
}

function fenced(stored: StoredObject, why: string): RawstorError {
  return new RawstorError('FENCED', `this session is over: ${why}`, {
    where: stored.object.name,
    hint: 'a volume has one writer; open it again to write',
  });
}

export function record(changed: StoredObject, method: AnsweredRequest['method'], swap: Swap): Change {
  const epoch = nextEpoch(changed.object);
  const { requestId, sessionEpoch } = swap;
  const answered = [...changed.answered, { requestId, method, sessionEpoch, epoch }].slice(-ANSWERED_KEPT);
  const object = { ...changed.object, epoch };
  return { stored: { ...changed, object, answered, rebuiltFrom: null }, epoch };
}

/** Epochs rise with every recorded change. @throws RawstorError LIMIT past 2^53 */
export function nextEpoch(object: ObjectRecord): number {
  if (object.epoch >= Number.MAX_SAFE_INTEGER) {
    throw new RawstorError('LIMIT', 'the epochs of this object are used up', { where: object.name });
  }
  return object.epoch + 1;
}
