import { everyChunkOn } from '../../common/whole-copies.js';
import { type Member, type ObjectRecord, type ObjectVersions, versionsOf } from '../../protocol/index.js';
import { newStoredObject, type StoredObject } from '../stored-object.js';
import { claims, contradiction, type Evidence, inSyncOf, newestClaim } from './evidence.js';

/**
 * - `restored`: every OST of its newest set answered.
 * - `loss`: some did not, those that did have every chunk: it goes on from them, marked as a loss.
 * - `missing`: some did not, and without them it is not whole: it stays out.
 * - `doubtful`: an OST of its newest set has no trace of it: as after a removal that was forgotten since.
 * - `contradictory`: its records cannot all be true.
 * - `removed`: some OST, or the dump, says that it was removed.
 */
export type Fate = 'restored' | 'loss' | 'missing' | 'doubtful' | 'contradictory' | 'removed';

export interface Finding {
  readonly id: string;
  /** '' where no record is left. */
  readonly name: string;
  readonly sizeBytes: number;
  readonly mode: ObjectRecord['mode'];
  readonly fate: Fate;
  /** Why it is not simply restored. */
  readonly why: string;
  /** OSTs that hold something of it. */
  readonly heldBy: readonly string[];
  /** What it lies over by its newest record, for one that stays out too. */
  readonly parent: ObjectRecord['parent'];
  /** As it would come back; null where it cannot. */
  readonly stored: StoredObject | null;
}

/**
 * Epochs of a rebuilt object begin at a multiple of this: the next one above what any OST that answered has seen, and not
 * below that of the second in which it is rebuilt. So they are also above what others may have seen or a client may
 * still hold (an open that reached no OST, a change that was answered but not stored), of this MDS and of one that
 * was rebuilt and lost again: a writer of before with such an epoch would shut out one of after, or be taken for it.
 */
export const EPOCH_STEP = 2 ** 22;
const EPOCHS_SINCE_WALL_MS = Date.UTC(2020, 0, 1);

/** 2^53 is reached in 2088. */
export function firstEpoch(highestSeen: number, nowWallMs: number): number {
  const seconds = Math.max(0, Math.floor((nowWallMs - EPOCHS_SINCE_WALL_MS) / 1000));
  return Math.max(Math.floor(highestSeen / EPOCH_STEP) + 1, seconds) * EPOCH_STEP;
}

/** Holder of the sessions that a rebuild puts on record. */
export const REBUILT_HOLDER = 'its writer of before the rebuild';

/** What becomes of one object. `answered`: the OSTs that were asked and answered. */
export function judge(evidence: Evidence, answered: ReadonlySet<string>, nowWallMs: number): Finding {
  const { id, kept, removedOn, removedInDump } = evidence;
  const records = recordsOf(evidence);
  const heldBy = [...kept.keys()].sort();
  const record = newestRecord(evidence);
  const { name = '', sizeBytes = 0, mode = 'mutable' } = record ?? {};
  const finding = (fate: Fate, why: string, stored: StoredObject | null = null): Finding => ({
    id,
    name,
    sizeBytes,
    mode,
    fate,
    why,
    heldBy,
    parent: record?.parent ?? null,
    stored,
  });
  if (record === null) return finding('removed', '');
  const pool = new Set(record.map.pool.map(({ ostId }) => ostId));
  // An OST that it was moved away from says nothing about the object.
  const removals = [...removedOn].filter((ostId) => pool.has(ostId));
  if (removedInDump) return finding('removed', 'the dump says so');
  if (removals.length > 0) return finding('removed', `OST ${removals.sort().join(', ')} says so`);

  const contradicted = contradiction(records);
  if (contradicted !== null) return finding('contradictory', contradicted);
  const newest = newestClaim(claims(evidence));
  if (newest === null) return finding('contradictory', 'in-sync sets of one epoch differ');
  const inSync = inSyncOf(newest.members);
  if (inSync.length === 0 || inSync.some((ostId) => !pool.has(ostId))) {
    return finding('contradictory', 'its in-sync set is not of its OSTs');
  }

  const whole = new Set(inSync.filter((ostId) => kept.has(ostId)));
  const concerned = new Set([...inSync, ...newest.joining]);
  const silent = [...concerned].filter((ostId) => !answered.has(ostId));
  const ignorant = inSync.filter((ostId) => answered.has(ostId) && !kept.has(ostId));
  const loss = silent.length > 0;
  const without = loss ? `OST ${silent.join(', ')} did not answer` : '';
  if (!everyChunkOn(record, whole)) {
    const why = loss ? without : `OST ${ignorant.join(', ')} has no trace of it, and no other is complete`;
    return finding(loss ? 'missing' : 'doubtful', why);
  }
  const members = newest.members.map((member): Member => {
    if (member.state === 'stale' || whole.has(member.ostId)) return member;
    // Of what it has, nothing is known: all of it is copied.
    return { ...member, state: 'stale', staleSince: 0 };
  });
  const stored = restored(evidence, record, members, {
    answered,
    nowWallMs,
    claimEpoch: newest.epoch,
    versions: newest.epoch > record.epoch ? newest.versions : undefined,
    lastSeal: newest.lastSeal,
    lossWallMs: newest.lossWallMs ?? (loss ? nowWallMs : null),
  });
  if (ignorant.length > 0) {
    return finding('doubtful', `OST ${ignorant.join(', ')} has no trace of it: was it removed?`, stored);
  }
  return finding(loss ? 'loss' : 'restored', loss ? `${without} and may have newer data` : '', stored);
}

function restored(
  evidence: Evidence,
  record: ObjectRecord,
  members: readonly Member[],
  marks: {
    answered: ReadonlySet<string>;
    nowWallMs: number;
    claimEpoch: number;
    versions: ObjectVersions | undefined;
    lastSeal: number;
    lossWallMs: number | null;
  },
): StoredObject {
  const { kept, dumped } = evidence;
  let highest = Math.max(record.epoch, dumped?.object.epoch ?? 0);
  let session = dumped?.session.epoch ?? 0;
  for (const { record: own, set, fence, regionEpoch } of kept.values()) {
    session = Math.max(session, fence?.sessionEpoch ?? 0);
    highest = Math.max(highest, own.epoch, set?.epoch ?? 0, regionEpoch, session);
  }
  const epoch = firstEpoch(highest, marks.nowWallMs);
  // Whether the guest was told of a loss is on no OST, nor always when it was recorded: then it is told once more (I8).
  const lossEpoch = Math.max(record.lossEpoch ?? 0, marks.claimEpoch);
  const object = {
    ...record,
    ...(marks.versions === undefined ? {} : versionsOf(marks.versions)),
    ...(marks.lossWallMs === null ? {} : { lossEpoch }),
    epoch,
    lastSeal: marks.lastSeal,
    members: [...members],
  };
  return {
    ...newStoredObject(object),
    // Nobody knows whether it was closed: the next open compares what is newer than the last seal.
    clean: false,
    lossWallMs: marks.lossWallMs,
    session: {
      epoch: session,
      open: session > 0,
      holder: REBUILT_HOLDER,
      sinceWallMs: 0,
      yields: false,
    },
    ...movesOf(evidence, record, marks.answered),
    rebuiltFrom: marks.claimEpoch,
  };
}

/**
 * The move that the dump knows of, unless the object has moved since, and who has a copy that is none of its places:
 * of a move that has ended, or of one that nobody knows of any more.
 */
function movesOf(
  { kept, dumped }: Evidence,
  { map }: ObjectRecord,
  answered: ReadonlySet<string>,
): Pick<StoredObject, 'wanted' | 'left'> {
  const unmoved = dumped !== null && JSON.stringify(dumped.object.map) === JSON.stringify(map);
  const wanted = unmoved ? dumped.wanted : null;
  const places = new Set([...map.pool.map(({ ostId }) => ostId), wanted?.to]);
  const told = dumped === null ? [] : [...dumped.left, ...(dumped.wanted === null ? [] : [dumped.wanted.to])];
  const left = [...kept.keys(), ...told.filter((ostId) => !answered.has(ostId))];
  return { wanted, left: [...new Set(left)].filter((ostId) => !places.has(ostId)).sort() };
}

function recordsOf({ kept, dumped }: Evidence): ObjectRecord[] {
  const records = [...kept.values()].map(({ record }) => record);
  return dumped === null ? records : [...records, dumped.object];
}

export function newestRecord(evidence: Evidence): ObjectRecord | null {
  const newer = (best: ObjectRecord | null, record: ObjectRecord) =>
    best === null || record.epoch > best.epoch ? record : best;
  return recordsOf(evidence).reduce<ObjectRecord | null>(newer, null);
}

/** OSTs that may have something of the object that counts, by whatever is said of it now. */
export function ostsNamed(evidence: Evidence): string[] {
  const record = newestRecord(evidence);
  if (record === null) return [];
  const { pool, exceptions } = record.map;
  return [
    ...pool.map(({ ostId }) => ostId),
    ...exceptions.flatMap(({ ostIds }) => ostIds),
    ...(record.parent?.ostIds ?? []),
    ...claims(evidence).flatMap(({ members, joining }) => [...members.map(({ ostId }) => ostId), ...joining]),
    evidence.dumped?.wanted?.to ?? [],
  ].flat();
}
