import type { Member } from '../member.js';
import { RegionSet } from '../region-set.js';
import type { VolumeState } from '../volume-state.js';
import { listRegions } from './copy.js';

/** Regions that any of `members` knows to be as new as `sinceEpoch` and that have more than one copy in sync. */
export async function regionsSince(
  state: VolumeState,
  members: readonly Member[],
  sinceEpoch: number,
): Promise<RegionSet> {
  const regions = new RegionSet(state.regionsPerChunk);
  for (const member of members) await listRegions(member, sinceEpoch, regions);
  keepShared(state, regions);
  return regions;
}

/** Leaves out what only one member in sync holds: with whom could it differ. */
export function keepShared(state: VolumeState, regions: RegionSet): void {
  for (const [chunk, region] of regions) {
    const copies = state.placement(chunk).filter((member) => member.inSync).length;
    if (copies < 2) regions.delete(chunk, region);
  }
}
