import { RawstorError } from '../../common/errors.js';
import type { Member } from '../member.js';
import { RegionSet } from '../region-set.js';
import type { VolumeState } from '../volume-state.js';
import { eachPage } from './copy.js';

export interface StaleRegions {
  /** To be copied. */
  readonly regions: RegionSet;
  /** Of these, the ones that were written since the last seal or in this session. */
  readonly unsure: RegionSet;
}

/**
 * What a returning member has to get (I9): regions newer than its drop on either side, and every one with a write in
 * flight that was not sent to it. Not what it remembers to have got already: that was sealed then, so no loss of
 * power could take it back at its source, and whatever was written since, in the session that copied it or in a later
 * one, has a tag of at least that session's epoch. A loss on record since then forgets all.
 */
export async function staleRegions(state: VolumeState, member: Member): Promise<StaleRegions> {
  const { object, regionsPerChunk, regionSizeBytes, sessionEpoch } = state;
  const regions = new RegionSet(regionsPerChunk);
  const unsure = new RegionSet(regionsPerChunk);
  const touched = new RegionSet(regionsPerChunk);
  const copied = new RegionSet(regionsPerChunk);
  const sure = Math.min(object.lastSeal, sessionEpoch - 1);
  let since = 0;
  state.locks.forEachExclusive((start, end, holder) => {
    if (holder.lockWritesNothing === true) return;
    for (const set of [regions, unsure, touched]) set.addRange(start, end, regionSizeBytes);
  });
  const take = (rows: readonly number[]) => {
    regions.addRows(rows);
    for (let i = 0; i + 2 < rows.length; i += 3) {
      if (rows[i + 2]! > sure) unsure.add(rows[i]!, rows[i + 1]!);
      if (rows[i + 2]! >= since) touched.add(rows[i]!, rows[i + 1]!);
    }
  };
  await eachPage(member, member.staleSince, (page) => {
    since = page.copiedSince;
    for (const at of page.copied) copied.add(page.rows[at * 3]!, page.rows[at * 3 + 1]!);
    take(page.rows);
  });
  for (const source of state.inSyncMembers()) {
    // Without its list the regions that only it knows of would be missed.
    if (!source.readable) throw new RawstorError('BUSY', 'a source is away', { where: source.ostId });
    await eachPage(source, member.staleSince, ({ rows }) => take(rows));
  }
  const trusted = since > (object.lossEpoch ?? 0);
  for (const [chunk, region] of regions) {
    const got = trusted && copied.has(chunk, region) && !touched.has(chunk, region);
    if (got || !state.placement(chunk).includes(member)) regions.delete(chunk, region);
  }
  return { regions, unsure };
}
