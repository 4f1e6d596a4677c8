import { RawstorError } from '../common/errors.js';
import { LIMITS } from '../common/limits.js';
import { reachOf } from '../common/whole-copies.js';
import type { Member, ObjectRecord, Params, Snapshot } from '../protocol/index.js';
import { validateName } from './validate.js';

/**
 * A new object over a snapshot of another, on the same OSTs: those that are in sync have all that the snapshot shows;
 * the others have to be brought what it shows before they count.
 * @throws RawstorError NOT_FOUND, INVALID
 */
export function cloneRecord(
  parent: ObjectRecord,
  request: Params<'mds.clone'>,
  id: string,
  createdWallMs: number,
): ObjectRecord {
  validateName(request.name);
  const snapshot = namedSnapshot(parent, request.version);
  const { chunkSizeBytes, replicas, stripeWidth, failureDomain, map } = parent;
  const minReplicas = request.minReplicas ?? parent.minReplicas;
  if (minReplicas < 1 || minReplicas > replicas) {
    throw new RawstorError(
      'INVALID',
      `minReplicas ${minReplicas} is not within 1 to the ${replicas} replicas`,
      {
        where: request.name,
        hint: 'a clone has as many replicas as its parent',
      },
    );
  }
  const inSync = parent.members.filter((member) => member.state === 'in-sync').map((member) => member.ostId);
  const kept = parent.members.flatMap(({ ostId, keptEpoch = 0 }) =>
    inSync.includes(ostId) && keptEpoch > 0 ? [[ostId, keptEpoch]] : [],
  );
  const members = parent.members.map(
    ({ ostId, state }): Member => ({ ostId, state, bootId: null, staleSince: 0 }),
  );
  return {
    id,
    name: request.name,
    mode: 'mutable',
    sizeBytes: snapshot.sizeBytes,
    chunkSizeBytes,
    replicas,
    minReplicas,
    stripeWidth,
    failureDomain,
    onDegraded: request.onDegraded ?? parent.onDegraded,
    headVersion: 1,
    headOver: 0,
    snapshots: [],
    parent: {
      objectId: parent.id,
      version: snapshot.version,
      name: `${parent.name}@${snapshot.name}`,
      ostIds: inSync,
      ...(kept.length === 0 ? {} : { keptEpochs: Object.fromEntries(kept) }),
      sizeBytes: snapshot.sizeBytes,
    },
    reachBytes: reachOf(parent),
    ...(snapshot.fileBytes === undefined
      ? {}
      : { file: { sizeBytes: snapshot.fileBytes, modifiedWallMs: createdWallMs } }),
    placeAs: parent.placeAs ?? parent.id,
    map,
    epoch: 1,
    lastSeal: 0,
    members,
    createdWallMs,
    ...(parent.encryption === undefined ? {} : { encryption: parent.encryption }),
  };
}

function namedSnapshot(parent: ObjectRecord, version: number): Snapshot {
  const found = parent.snapshots.find((one) => one.version === version);
  if (found !== undefined && found.name !== null) return found;
  throw new RawstorError('NOT_FOUND', `there is no snapshot with version ${version}`, {
    where: parent.name,
    hint: 'a clone is made of a snapshot: `rawstor-volume snapshot ls` lists them',
  });
}

/**
 * A read looks through every version below until one has something: of clones of clones there may be many.
 * @param load a parent's record, null when there is none any more
 * @throws RawstorError LIMIT
 */
export async function checkDepth(
  parent: ObjectRecord,
  version: number,
  load: (id: string) => Promise<ObjectRecord | null>,
): Promise<void> {
  let depth = 0;
  let object: ObjectRecord | null = parent;
  let at = version;
  while (object !== null) {
    const over = new Map(object.snapshots.map((one) => [one.version, one.over]));
    for (; at > 0; at = over.get(at) ?? 0) depth++;
    const below: ObjectRecord['parent'] = object.parent;
    // Its own snapshots must find room above.
    if (depth + LIMITS.snapshotsPerVolume + 1 > LIMITS.versionsDeep) {
      throw new RawstorError('LIMIT', `it would lie over more than ${depth} versions`, {
        where: parent.name,
        hint: 'flatten some clone below it first: `rawstor-volume flatten`',
      });
    }
    object = below === null ? null : await load(below.objectId);
    at = below?.version ?? 0;
  }
}
