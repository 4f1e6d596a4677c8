import type { Member } from '../member.js';
import { RegionSet } from '../region-set.js';
import type { VolumeState } from '../volume-state.js';
import { listRegions } from './copy.js';

/**
 * Regions of which these members may have lost what another in-sync member still has: of a volume that is spread, a
 * member may be the last for one chunk and one of several for the next. They have to be reconciled.
 */
export async function differingAfterLoss(state: VolumeState, members: readonly Member[]): Promise<RegionSet> {
  const found = new RegionSet(state.regionsPerChunk);
  const inSync = state.inSyncMembers();
  if (inSync.length < 2) return found;
  for (const member of inSync) {
    if (member.attached) await listRegions(member, state.object.lastSeal + 1, found);
  }
  for (const [chunk, region] of found) {
    const holders = state.placement(chunk).filter((member) => member.inSync);
    if (holders.length < 2 || !holders.some((member) => members.includes(member))) {
      found.delete(chunk, region);
    }
  }
  return found;
}
