import { RawstorError } from '../common/errors.js';
import { hashBytes, mix32, negativeLog } from '../common/hash.js';
import { parseId } from '../common/ids.js';
import { LIMITS } from '../common/limits.js';
import { formatSizeBytes, GiB, MiB } from '../common/units.js';
import type { ChunkMap, OstInfo } from '../protocol/index.js';

/** What allocation needs of a create request. */
export interface AllocationSpec {
  readonly replicas: number;
  /** 1: every chunk on one set of OSTs; n: over n of them; `all`: over all. */
  readonly stripeWidth: number | 'all';
  /** Label that tells failure domains apart. */
  readonly failureDomain: string;
  /** `host` label of the OST that first replicas should be on, null for no wish. */
  readonly near: string | null;
  /** OSTs that have only their reserve left too, where there are no others. */
  readonly anyRoom?: boolean;
}

/** An OST as allocation sees it. */
export interface Candidate {
  readonly info: OstInfo;
  readonly alive: boolean;
  /** Nothing new is placed there. */
  readonly draining?: boolean;
}

interface Scored {
  readonly info: OstInfo;
  readonly domain: string;
  readonly near: boolean;
  /** Lower is better: a draw weighted by free space, so that objects spread instead of all taking the emptiest. */
  readonly score: number;
}

const DRAW_SEED = 0x616c6c63;

/**
 * Chooses the OSTs of a new object. Thin: the object may be larger than what is free, but an OST whose free
 * space is down to its reserve gets no new object.
 * @throws RawstorError UNSATISFIABLE saying what was wanted and what there is; never a thinner placement
 */
export function allocate(spec: AllocationSpec, osts: readonly Candidate[], objectId: string): ChunkMap {
  checkDomain(spec, osts);
  const usable = osts.filter(spec.anyRoom === true ? isOpen : isUsable);
  const scored = usable.map((o) => score(o.info, spec, objectId)).sort(byScore);
  checkNear(spec, osts, scored);
  const width = spec.stripeWidth === 'all' ? Math.min(scored.length, LIMITS.poolMembers) : spec.stripeWidth;
  const wanted = width === 1 ? spec.replicas : width;
  const chosen = spread(scored, wanted);
  const domains = new Set(chosen.map((s) => s.domain)).size;
  if (chosen.length < wanted || domains < spec.replicas) throw unsatisfiable(spec, osts, scored);
  const near = chosen.find((s) => s.near);
  return {
    rule: width === 1 ? 'fixed' : 'hash',
    pool: chosen.map((s) => ({
      ostId: s.info.ostId,
      weight: Math.max(1, s.info.freeBytes),
      domain: s.domain,
    })),
    nearDomain: near?.domain ?? '',
    exceptions: [],
  };
}

/** Takes something new. */
export function isUsable(ost: Candidate): boolean {
  return isOpen(ost) && ost.info.freeBytes >= reserveBytes(ost.info);
}

function isOpen({ alive, draining }: Candidate): boolean {
  return alive && draining !== true;
}

/** Free space under which an OST takes no new object: 1 % of it, at least 64 MiB and at most 10 GiB. */
export function reserveBytes(info: Pick<OstInfo, 'capacityBytes'>): number {
  return Math.min(10 * GiB, Math.max(64 * MiB, Math.floor(info.capacityBytes / 100)));
}

/** An OST without the label, where others have it or it is `ost`, is a domain of its own. */
export function domainOf(info: OstInfo, failureDomain: string): string {
  return info.labels[failureDomain] || info.ostId;
}

function isNear(info: OstInfo, near: string): boolean {
  return info.labels.host === near || info.ostId === near;
}

/** A draw weighted by free space; lower is better. */
export function drawScore(info: OstInfo, objectId: string): number {
  const word = mix32(hashBytes(parseId(objectId), DRAW_SEED) ^ hashBytes(parseId(info.ostId), DRAW_SEED));
  return negativeLog(word) / Math.max(1, info.freeBytes);
}

function score(info: OstInfo, spec: AllocationSpec, objectId: string): Scored {
  return {
    info,
    domain: domainOf(info, spec.failureDomain),
    near: spec.near !== null && isNear(info, spec.near),
    score: drawScore(info, objectId),
  };
}

function byScore(a: Scored, b: Scored): number {
  return a.score - b.score || (a.info.ostId < b.info.ostId ? -1 : 1);
}

/** Takes `count`, near ones before others, always from a domain that was taken from least. */
function spread(scored: readonly Scored[], count: number): Scored[] {
  const left = [...scored.filter((s) => s.near), ...scored.filter((s) => !s.near)];
  const used = new Map<string, number>();
  const chosen: Scored[] = [];
  while (chosen.length < count && left.length > 0) {
    let best = 0;
    for (let i = 1; i < left.length; i++) {
      if ((used.get(left[i]!.domain) ?? 0) < (used.get(left[best]!.domain) ?? 0)) best = i;
    }
    const [taken] = left.splice(best, 1);
    chosen.push(taken!);
    used.set(taken!.domain, (used.get(taken!.domain) ?? 0) + 1);
  }
  return chosen;
}

/** A label that no OST has is a mistake: every OST would count as a domain, two on one host included. */
function checkDomain({ failureDomain }: AllocationSpec, osts: readonly Candidate[]): void {
  if (failureDomain === 'ost' || osts.length === 0) return;
  if (osts.some((o) => o.info.labels[failureDomain])) return;
  const known = [...new Set(osts.flatMap((o) => Object.keys(o.info.labels)))].sort();
  throw new RawstorError(
    'UNSATISFIABLE',
    `no OST has a label '${failureDomain}' to tell failure domains apart`,
    {
      where: describe(osts),
      hint: `labels there are: ${listed(known)}; 'ost' tells single OSTs apart. Start OSTs with --label ${failureDomain}=...`,
    },
  );
}

function checkNear(spec: AllocationSpec, osts: readonly Candidate[], scored: readonly Scored[]): void {
  const { near } = spec;
  if (near === null || scored.some((s) => s.near)) return;
  const there = osts.filter((o) => isNear(o.info, near));
  const hosts = [...new Set(osts.map((o) => o.info.labels.host).filter((h) => h !== undefined))].sort();
  const state = there.length === 0 ? 'no OST has that host label' : describe(there);
  throw new RawstorError('UNSATISFIABLE', `no OST near '${near}' can take the first replica: ${state}`, {
    hint: `hosts with OSTs: ${listed(hosts)}. Create it without a near host, or start an OST there`,
  });
}

function unsatisfiable(
  spec: AllocationSpec,
  osts: readonly Candidate[],
  scored: readonly Scored[],
): RawstorError {
  const domains = [...new Set(scored.map((s) => s.domain))].sort();
  const what = spec.failureDomain;
  const parts = [`${spec.replicas} ${plural(spec.replicas, 'replica')} on distinct ${what}s`];
  if (typeof spec.stripeWidth === 'number' && spec.stripeWidth > 1) {
    parts.push(`over ${spec.stripeWidth} OSTs`);
  }
  const there = `${scored.length} ${plural(scored.length, 'OST')} on ${domains.length} ${plural(domains.length, what)} (${listed(domains)})`;
  return new RawstorError('UNSATISFIABLE', `wanted ${parts.join(' ')}; usable: ${there}`, {
    where: describe(osts),
    hint: hintFor(spec, osts, domains.length),
  });
}

function hintFor(spec: AllocationSpec, osts: readonly Candidate[], domains: number): string {
  if (osts.length === 0) return 'no OST has registered: start one, or wait until it reports to this MDS';
  if (osts.some((o) => !o.alive)) return 'bring the dead OSTs back, or ask for less';
  if (domains < spec.replicas) {
    const finer = spec.failureDomain === 'ost' ? '' : `, or choose a finer failure domain ('ost')`;
    return `start an OST on another ${spec.failureDomain}, lower the replicas${finer}`;
  }
  return 'lower the stripe width, start more OSTs, or free space on the full ones';
}

/** "4 known: 1 dead (id), 1 full (id, 12 MiB free)" */
export function describe(osts: readonly Candidate[]): string {
  const dead = osts.filter((o) => !o.alive);
  const draining = osts.filter((o) => o.alive && o.draining === true);
  const full = osts.filter((o) => o.alive && o.info.freeBytes < reserveBytes(o.info));
  const parts: string[] = [];
  if (dead.length > 0) parts.push(`${dead.length} dead (${listed(dead.map((o) => o.info.ostId))})`);
  if (draining.length > 0)
    parts.push(`${draining.length} draining (${listed(draining.map((o) => o.info.ostId))})`);
  if (full.length > 0) {
    const names = full.map((o) => `${o.info.ostId}, ${formatSizeBytes(o.info.freeBytes)} free`);
    parts.push(`${full.length} full (${listed(names)})`);
  }
  return `${osts.length} ${plural(osts.length, 'OST')} known${parts.length > 0 ? `: ${parts.join(', ')}` : ''}`;
}

function plural(count: number, word: string): string {
  return count === 1 ? word : `${word}s`;
}

function listed(words: readonly string[]): string {
  if (words.length === 0) return 'none';
  const shown = words.slice(0, 5).join(', ');
  return words.length > 5 ? `${shown} and ${words.length - 5} more` : shown;
}
