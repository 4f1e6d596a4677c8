import type { BootId } from '../protocol/records.js';
import type { Flusher } from './flusher.js';
import type { Member } from './member.js';
import { regionsSince } from './recovery/newer.js';
import type { RegionSet } from './region-set.js';
import { changedMembers } from './replica-set.js';
import type { SetRecorder } from './set-recorder.js';
import type { VolumeState } from './volume-state.js';

const RETRY_MS = 20;

/**
 * Records that `members`, which came back without what was not flushed there, stay in the set (I8): some chunk
 * has nobody else. What they hold of chunks that others hold too may be older than there, so those regions are
 * unreconciled from here on, and copied from a member that lost nothing where there is one (I7). False when that
 * could not be found out: the loss is to be decided on again. Until the set is stored nothing is acknowledged.
 */
export async function acceptLoss(
  state: VolumeState,
  recorder: SetRecorder,
  flusher: Flusher,
  members: readonly Member[],
): Promise<boolean> {
  const bootIds = new Map<string, BootId>();
  for (const member of members) bootIds.set(member.ostId, member.bootId!);
  let differing: RegionSet;
  try {
    const older = members.some((one) => one.older);
    differing = older
      ? await regionsSince(state, state.inSyncMembers(), 0)
      : await regionsSince(state, members, state.object.lastSeal + 1);
  } catch {
    for (const member of members) member.end(false);
    // That they have ended may take a moment to be told.
    await state.env.clock.sleep(RETRY_MS);
    return false;
  }
  // A flush without an answer covers what was dirty before it.
  const lost = members.some((one) => one.dirty || one.older || flusher.awaits(one));
  await recorder.changeMembers(changedMembers(state.object.members, { bootIds }), lost, () => {
    state.acksHeld = true;
  });
  for (const [chunk, region] of differing) state.unreconciled.add(chunk, region);
  for (const member of members) {
    member.recordedBootId = member.bootId;
    member.trusted();
    member.behind = differing.size > 0;
    member.losses++;
  }
  state.lossesAccepted++;
  if (lost) {
    state.noteLoss();
    state.env.log.error({ volume: state.name }, 'unflushed writes were lost');
  }
  // What was copied from here before may not be here any more: those resyncs begin anew.
  for (const member of state.members) if (member.receiving) member.end(false);
  return true;
}
