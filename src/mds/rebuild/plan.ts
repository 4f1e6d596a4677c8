import { RawstorError } from '../../common/errors.js';
import { LIMITS } from '../../common/limits.js';
import type { StoredObject } from '../stored-object.js';
import { type DumpedMds, type DumpedOst, gather, type OstScan } from './evidence.js';
import { type Finding, judge, newestRecord, ostsNamed } from './judge.js';

export interface PlanOptions {
  /** OSTs known from elsewhere that did not answer, by id. */
  readonly silent: readonly string[];
  /** Whether doubtful objects come back. */
  readonly restoreDoubtful: boolean;
  readonly nowWallMs: number;
}

/** What a rebuilt MDS begins with, and what has to be told about it. */
export interface RebuildPlan {
  readonly clusterId: string;
  /** By name. */
  readonly findings: readonly Finding[];
  /** New names by id, where two objects had one. */
  readonly renamed: ReadonlyMap<string, string>;
  /** OSTs that are named somewhere and did not answer. */
  readonly missing: readonly string[];
  /** Of these, the ones that nothing found refers to: only what they alone have can stay out. */
  readonly unreferred: readonly string[];
  readonly osts: readonly DumpedOst[];
  readonly objects: readonly StoredObject[];
  readonly tombstones: readonly { readonly objectId: string; readonly ostIds: readonly string[] }[];
  /** Of the dump's, those of OSTs that did not answer; what the others still have is with the objects. */
  readonly left: DumpedMds['left'];
  /** What facades kept: to be recovered from the OSTs, and from rows of the dump. Null: they kept nothing. */
  readonly lostCatalog: NonNullable<DumpedMds['catalog']> | null;
}

/**
 * Puts together what all OSTs, and maybe a dump, say. Pure: nothing is asked, nothing written.
 * @throws RawstorError BAD_DATA when they cannot be of one cluster
 */
export function makePlan(
  scans: readonly OstScan[],
  dump: DumpedMds | null,
  options: PlanOptions,
): RebuildPlan {
  const known = distinct(scans);
  const clusterId = commonCluster(known, dump);
  const evidence = gather(known, dump);
  const answered = new Set(known.map(({ info }) => info.ostId));
  const findings: Finding[] = [];
  const missing = new Set(options.silent.filter((ostId) => !answered.has(ostId)));
  const named = new Set<string>();
  for (const one of evidence.values()) {
    const finding = judge(one, answered, options.nowWallMs);
    // Only tombstones: nothing is left of it.
    if (finding.name === '') continue;
    findings.push(finding);
    if (finding.fate === 'removed') continue;
    for (const ostId of ostsNamed(one)) named.add(ostId);
    // Older records name OSTs that it has been moved away from, which may be gone for good.
    for (const { ostId } of newestRecord(one)?.map.pool ?? []) if (!answered.has(ostId)) missing.add(ostId);
  }
  findings.sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : a.id < b.id ? -1 : 1));
  const returning = findings.filter(
    ({ fate }) => fate === 'restored' || fate === 'loss' || (fate === 'doubtful' && options.restoreDoubtful),
  );
  const objects = returning.flatMap(({ stored }) => stored ?? []);
  const byId = new Map(objects.map((stored) => [stored.object.id, stored]));
  const renamed = newNames(objects);
  const osts = new Map((dump?.osts ?? []).map((ost) => [ost.ostId, ost]));
  for (const { info } of known) osts.set(info.ostId, { ...osts.get(info.ostId), ...info });
  const tombstones = [...evidence.values()]
    .filter(({ removedOn, removedInDump }) => removedOn.size > 0 || removedInDump)
    .filter(({ id }) => !byId.has(id))
    .map(({ id, kept, removedOn }) => ({
      objectId: id,
      ostIds: [...new Set([...kept.keys(), ...missing])].filter((ostId) => !removedOn.has(ostId)),
    }))
    .filter(({ ostIds }) => ostIds.length > 0);
  return {
    clusterId,
    findings,
    renamed,
    missing: [...missing].sort(),
    unreferred: [...missing].filter((ostId) => !named.has(ostId)).sort(),
    osts: [...osts.values()],
    objects: objects.map((stored) => withName(stored, renamed.get(stored.object.id))),
    tombstones,
    lostCatalog: lostCatalog(findings, dump),
    left: (dump?.left ?? []).filter(({ ostId, objectId }) => {
      const object = byId.get(objectId);
      const placed = object?.object.map.pool.some((target) => target.ostId === ostId) === true;
      return !answered.has(ostId) && !placed && object?.left.includes(ostId) !== true;
    }),
  };
}

/** Who keeps anything in the catalog has its journal in immutable objects, those that stay out included. */
function lostCatalog(findings: readonly Finding[], dump: DumpedMds | null): RebuildPlan['lostCatalog'] {
  const dumped = dump?.catalog ?? { revision: 0, rows: [] };
  const kept = findings.some(({ mode, fate }) => mode === 'immutable' && fate !== 'removed');
  return kept || dumped.rows.length > 0 ? dumped : null;
}

/** One scan a server, however many of its addresses were asked. @throws RawstorError BAD_DATA */
function distinct(scans: readonly OstScan[]): OstScan[] {
  const byId = new Map<string, OstScan>();
  for (const scan of scans) {
    const { ostId, addresses } = scan.info;
    const other = byId.get(ostId);
    if (other !== undefined && other.process !== scan.process) {
      throw new RawstorError('BAD_DATA', `two servers say they are OST ${ostId}`, {
        where: `${other.info.addresses.join(', ')} and ${addresses.join(', ')}`,
        hint: 'one runs on a copy of the directory of the other: stop the copy',
      });
    }
    byId.set(ostId, scan);
  }
  return [...byId.values()];
}

function commonCluster(scans: readonly OstScan[], dump: DumpedMds | null): string {
  const said = new Map<string, string[]>();
  for (const { clusterId, info } of scans) {
    if (clusterId !== '') said.set(clusterId, [...(said.get(clusterId) ?? []), `OST ${info.ostId}`]);
  }
  if (dump !== null) said.set(dump.clusterId, [...(said.get(dump.clusterId) ?? []), 'the dump']);
  if (said.size === 1) return [...said.keys()][0]!;
  if (said.size === 0) {
    throw new RawstorError('BAD_DATA', 'none of these OSTs has ever been in a cluster', {
      hint: 'there is nothing to rebuild: start an MDS on an empty directory',
    });
  }
  throw new RawstorError('BAD_DATA', 'these are of different clusters', {
    where: [...said].map(([id, who]) => `${id}: ${who.join(', ')}`).join('; '),
    hint: 'name the OSTs of one cluster with --ost',
  });
}

/**
 * Names are unique at one time, so of two objects with one name the older was removed, or stayed out of an earlier
 * rebuild, before the newer was made: the newer keeps it.
 */
function newNames(objects: readonly StoredObject[]): Map<string, string> {
  const taken = new Set<string>(objects.map(({ object }) => object.name));
  const kept = new Set<string>();
  const renamed = new Map<string, string>();
  const newestFirst = objects.map(({ object }) => object);
  newestFirst.sort((a, b) => b.createdWallMs - a.createdWallMs || (a.id < b.id ? 1 : -1));
  for (const { id, name } of newestFirst) {
    if (!kept.has(name)) {
      kept.add(name);
      continue;
    }
    let suffix = `.${id.slice(-8)}`;
    let next = name.slice(0, LIMITS.nameBytes - suffix.length) + suffix;
    for (let i = 2; taken.has(next); i++) {
      suffix = `.${id.slice(-8)}.${i}`;
      next = name.slice(0, LIMITS.nameBytes - suffix.length) + suffix;
    }
    taken.add(next);
    renamed.set(id, next);
  }
  return renamed;
}

function withName(stored: StoredObject, name: string | undefined): StoredObject {
  return name === undefined ? stored : { ...stored, object: { ...stored.object, name } };
}
