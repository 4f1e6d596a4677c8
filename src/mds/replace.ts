import { RawstorError } from '../common/errors.js';
import { moveReserveBytes } from '../common/move-reserve.js';
import type { ChunkMap, ObjectRecord, OstInfo } from '../protocol/index.js';
import { type Candidate, describe, domainOf, drawScore, isUsable } from './allocate.js';

/** Which OST may take a place in an object's map, and the map with it: pure, by the rules of allocation. */

export interface PlaceWish {
  /** Whose place; null: one more in the pool. */
  readonly from: string | null;
  /** The one that takes it; null: the best. */
  readonly to: string | null;
}

/** Copies to it are refused otherwise: one that is full is no target, also when it was chosen before. */
export function hasRoomForMove({ info }: Candidate): boolean {
  return info.freeBytes > moveReserveBytes(info.capacityBytes);
}

/**
 * @param excluded why an OST cannot take it although it is alive and has room, null where it can
 * @throws RawstorError UNSATISFIABLE, INVALID; never a thinner placement
 */
export function chooseTarget(
  object: ObjectRecord,
  wish: PlaceWish,
  osts: readonly Candidate[],
  excluded: (ostId: string) => string | null,
): OstInfo {
  const { map, id, name: where } = object;
  checkWish(object, wish);
  const infos = new Map(osts.map(({ info }) => [info.ostId, info]));
  const taken = takenDomains(object, wish.from, infos);
  const reasons: string[] = [];
  const isPlaced = ({ info }: Candidate) => map.pool.some(({ ostId }) => ostId === info.ostId);
  const possible = osts.filter((ost) => {
    const { ostId } = ost.info;
    if (wish.to !== null && ostId !== wish.to) return false;
    const reason = refusal(ost) ?? excluded(ostId);
    if (reason !== null) reasons.push(`OST ${ostId} ${reason}`);
    return reason === null;
  });
  function refusal(ost: Candidate): string | null {
    if (isPlaced(ost)) return 'has it already';
    if (!isUsable(ost)) return describe([ost]).replace(/^1 OST known: 1 /, 'is ');
    if (!hasRoomForMove(ost)) return 'has only left what its guests are to have';
    const domain = domainOf(ost.info, object.failureDomain);
    return taken.has(domain) ? `is on ${object.failureDomain} '${domain}', as another copy` : null;
  }
  if (possible.length === 0) {
    // Also where a width was given that takes all there are.
    const everywhere = object.map.rule === 'hash' && wish.from !== null && osts.every(isPlaced);
    const what = wish.from === null ? 'can be added to' : `can take the place of ${wish.from} in`;
    throw new RawstorError('UNSATISFIABLE', `no OST ${what} '${where}'`, {
      where: reasons.slice(0, 5).join('; ') || (wish.to === null ? 'no other OST' : `no OST ${wish.to}`),
      hint: everywhere
        ? `it is spread over all OSTs (--stripe-width ${object.stripeWidth}) and does not do with fewer: start another OST, which is to take ` +
          'the place, or copy the volume to one of a smaller width (export, import)'
        : `start an OST on another ${object.failureDomain}, or free space`,
    });
  }
  const leaving = map.pool.find((target) => target.ostId === wish.from);
  const nearDomain = leaving !== undefined && leaving.domain === map.nearDomain ? map.nearDomain : null;
  const isNear = (info: OstInfo) => domainOf(info, object.failureDomain) === nearDomain;
  const order = (a: OstInfo, b: OstInfo) =>
    Number(isNear(b)) - Number(isNear(a)) || drawScore(a, id) - drawScore(b, id);
  return possible.map(({ info }) => info).sort(order)[0]!;
}

/**
 * The map with `to` in the place of `from`, or added. Of rule `hash` the place keeps what it is drawn by: id, weight
 * and domain, so that no other chunk moves.
 */
export function mapWith(object: ObjectRecord, from: string | null, to: OstInfo): ChunkMap {
  const { map, failureDomain } = object;
  const domain = domainOf(to, failureDomain);
  if (from === null) {
    return { ...map, pool: [...map.pool, { ostId: to.ostId, weight: to.freeBytes, domain }] };
  }
  const pool = map.pool.map((target) => {
    if (target.ostId !== from) return target;
    const place = { ...target, ostId: to.ostId };
    return map.rule === 'fixed' ? { ...place, domain } : { ...place, drawAs: target.drawAs ?? from };
  });
  const exceptions = map.exceptions.map(({ chunk, ostIds }) => ({
    chunk,
    ostIds: ostIds.map((ostId) => (ostId === from ? to.ostId : ostId)),
  }));
  return { ...map, pool, exceptions };
}

function checkWish({ map, name: where }: ObjectRecord, { from, to }: PlaceWish): void {
  if (from !== null && !map.pool.some((target) => target.ostId === from)) {
    throw new RawstorError('INVALID', `OST ${from} has no place in the map`, { where });
  }
  if (from !== null) return;
  if (map.rule === 'fixed') {
    throw new RawstorError('INVALID', 'all chunks are on the same OSTs: its pool does not grow', { where });
  }
  if (to === null)
    throw new RawstorError('INVALID', 'which OST the pool is to grow by is not said', { where });
}

/**
 * Domains in which the new OST could meet another replica of a chunk. OSTs of the pool that are drawn as of the
 * leaving one's domain never hold a replica beside it.
 */
function takenDomains(
  { map, failureDomain }: ObjectRecord,
  from: string | null,
  infos: ReadonlyMap<string, OstInfo>,
): Set<string> {
  // One that is added is drawn as of its own domain: where that is really another's, they can meet.
  const leaving = map.pool.find((target) => target.ostId === from);
  const others = map.pool.filter((target) => target !== leaving);
  const apart =
    map.rule === 'hash' && leaving !== undefined
      ? others.filter((target) => target.domain !== leaving.domain)
      : others;
  const real = (ostId: string, drawn: string) => {
    const info = infos.get(ostId);
    return info === undefined ? drawn : domainOf(info, failureDomain);
  };
  if (leaving !== undefined) return new Set(apart.map(({ ostId, domain }) => real(ostId, domain)));
  const mixed = others.filter(({ ostId, domain }) => real(ostId, domain) !== domain);
  return new Set(mixed.map(({ ostId, domain }) => real(ostId, domain)));
}
