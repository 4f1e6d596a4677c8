import { LIMITS } from '../common/limits.js';
import type { Params, Result } from '../protocol/index.js';
import type { OstCore } from './core.js';
import { hasVersion, sharesParent } from './layers/index.js';
import type { OstObject } from './object.js';
import { REGIONS_PER_PAGE } from './record-codec.js';
import type { SessionHolder } from './session.js';

/** Pages of regions in one answer, and the records looked at for it. */
const PAGES_AT_ONCE = LIMITS.regionsPerAnswer / REGIONS_PER_PAGE;
const RECORDS_AT_ONCE = 8 * PAGES_AT_ONCE;

/** One object whose regions are asked for, and which of its versions count. */
interface Source {
  readonly key: Buffer;
  readonly counts: (version: number) => boolean;
}

interface Page {
  readonly chunk: number;
  readonly page: number;
  readonly epochs: Float64Array;
}

/**
 * Answers `ost.regions`: regions of any version whose epoch is at least `since`, highest first among versions. For `since` 0 those of
 * the parent that this OST shares too: who knows nothing of the object needs them.
 * @throws RawstorError STALE_SESSION
 */
export function listRegions(
  core: OstCore,
  asked: Params<'ost.regions'>,
  holder: SessionHolder,
): Result<'ost.regions'> {
  const { object } = core.session(asked.handle, holder);
  const from = asked.from ?? { chunk: 0, region: 0 };
  const sources = asked.since === 0 ? family(core, object) : [own(object)];
  const { pages, next } = gather(core, sources, from.chunk, Math.floor(from.region / REGIONS_PER_PAGE));
  const since = Math.max(1, asked.since);
  const rows: number[] = [];
  const remembered: number[] = [];
  for (const { chunk, page, epochs } of pages) {
    for (let i = 0; i < epochs.length; i++) {
      if (epochs[i]! < since) continue;
      const region = page * REGIONS_PER_PAGE + i;
      if (object.copied.has(chunk, region)) remembered.push(rows.length / 3);
      rows.push(chunk, region, epochs[i]!);
    }
  }
  return { rows, copied: remembered, copiedSince: object.copied.since, next };
}

function own({ key, record }: OstObject): Source {
  return { key, counts: (version) => hasVersion(record, version) };
}

/** The object, and what of its parents shows in it. Their epochs are of other objects: only that they are not 0 counts. */
function family(core: OstCore, object: OstObject): Source[] {
  const sources = [own(object)];
  let child = object;
  for (let { parent } = child.record; parent !== null && sharesParent(child.record, core.ostId); ) {
    const { version } = parent;
    child = core.object(parent.objectId, null);
    sources.push({ key: child.key, counts: (one) => one <= version });
    parent = child.record.parent;
  }
  return sources;
}

/** The next pages at or after a place, merged over versions and sources. */
function gather(
  core: OstCore,
  sources: readonly Source[],
  fromChunk: number,
  fromPage: number,
): { pages: Page[]; next: { chunk: number; region: number } | null } {
  const pages: Page[] = [];
  let chunk: number | null = nextChunk(core, sources, fromChunk);
  let page = chunk === fromChunk ? fromPage : 0;
  let records = 0;
  while (chunk !== null) {
    if (pages.length >= PAGES_AT_ONCE || records >= RECORDS_AT_ONCE) {
      return { pages, next: { chunk, region: page * REGIONS_PER_PAGE } };
    }
    const room = PAGES_AT_ONCE - pages.length;
    const found = ofChunk(core, sources, chunk, page, room);
    pages.push(...found.pages);
    records += found.records;
    if (found.nextPage !== null) page = found.nextPage;
    else {
      chunk = nextChunk(core, sources, chunk + 1);
      page = 0;
    }
  }
  return { pages, next: null };
}

/** Pages `from` to `from + room` of a chunk, and the first one behind: pages that were never written have no record. */
function ofChunk(core: OstCore, sources: readonly Source[], chunk: number, from: number, room: number) {
  const merged = new Map<number, Float64Array>();
  const until = from + room;
  let records = 0;
  let nextPage: number | null = null;
  for (const { key, counts } of sources) {
    for (const version of core.records.versions.versionsOf(key, chunk)) {
      if (!counts(version)) continue;
      const [behind] = core.records.scanRegions(key, chunk, version, until, 1);
      if (behind?.chunk === chunk && behind.version === version) {
        nextPage = Math.min(nextPage ?? behind.page, behind.page);
      }
      for (const row of core.records.versions.versionRegions(key, chunk, version, from, until)) {
        records++;
        const into = merged.get(row.page);
        if (into === undefined) merged.set(row.page, row.epochs);
        else for (let i = 0; i < into.length; i++) into[i] = Math.max(into[i]!, row.epochs[i]!);
      }
    }
  }
  const pages = [...merged].sort(([a], [b]) => a - b).map(([page, epochs]) => ({ chunk, page, epochs }));
  return { pages, records, nextPage };
}

function nextChunk(core: OstCore, sources: readonly Source[], from: number): number | null {
  let next: number | null = null;
  for (const { key } of sources) {
    const [first] = core.records.scanRegions(key, from, 0, 0, 1);
    if (first !== undefined && (next === null || first.chunk < next)) next = first.chunk;
  }
  return next;
}
