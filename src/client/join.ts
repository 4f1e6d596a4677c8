import { flushMember } from './flusher.js';
import type { IoPath } from './io-path.js';
import type { LostMembers } from './lost-members.js';
import type { Member } from './member.js';
import { endAll, recordJoin } from './recovery/move.js';
import type { SetRecorder } from './set-recorder.js';
import type { VolumeState } from './volume-state.js';

/** What a join needs of the loop that changes the set. */
export interface JoinParts {
  readonly state: VolumeState;
  readonly recorder: SetRecorder;
  readonly path: IoPath;
  readonly lost: LostMembers;
  /** Gives up as soon as a member is lost. */
  unlessLost<T>(work: Promise<T>): Promise<T>;
  releaseAcks(): void;
}

/** I9, the end of a resync: drain, flush, compare-and-swap; everything counts from the flush on. */
export async function join(member: Member, parts: JoinParts): Promise<boolean> {
  const { state, recorder, path, lost, unlessLost } = parts;
  if (!member.receiving || !member.attached) return false;
  try {
    await unlessLost(member.sent.drained());
  } catch {
    return false;
  }
  if (!member.receiving || !member.attached) return false;
  // Before there can be a set with it: whoever is left of this one knows whom to ask.
  if (!(await recorder.storeSet([member.ostId]))) return false;
  if (!member.receiving || !member.attached) return false;
  const session = member.sessionNumber;
  const bootId = member.bootId!;
  member.counts = true;
  member.dirty = false;
  // From here on another boot id of it would mean a loss of what the join counts on.
  member.recordedBootId = bootId;
  const flushed = await unlessLost(flushMember(state, member)).catch(() => false);
  const stillGood = flushed && member.attached && member.sessionNumber === session;
  if (!stillGood || lost.any()) {
    member.counts = false;
    member.dirty = true;
    return countsNoMore(member, path);
  }
  const gone = await lost.answered(recordJoin(state, recorder, member, bootId));
  member.counts = false;
  if (gone === null) return countsNoMore(member, path);
  member.inSync = true;
  member.receiving = false;
  endAll(gone, path);
  member.staleSince = 0;
  // What it has lost since, under another session, is seen to next.
  if (member.sessionNumber === session) member.older = false;
  state.env.log.info({ volume: state.name, ostId: member.ostId }, 'replica is in sync again');
  // A survivor that cannot store it is lost, and the next round sees to it.
  if (await recorder.storeSet()) parts.releaseAcks();
  return true;
}

function countsNoMore(member: Member, path: IoPath): false {
  if (!member.attached) {
    // Its session ended while it counted: from here on it gets nothing, or that would wait for it for ever (I9).
    member.receiving = false;
    path.giveUp(member);
  }
  path.review();
  return false;
}
