import { RawstorError } from '../../common/errors.js';
import type { OstCore } from '../core.js';
import type { LocalClone } from '../local-clones.js';
import type { OstObject } from '../object.js';
import { passedVersions } from './lineage.js';

/** A clone on this OST that would lose what it shows if the version were merged away, or deleted; null: none. */
export function neededBy(core: OstCore, { record }: OstObject, version: number): LocalClone | null {
  const clones = core.records.clones.over(record.id, core.ostId);
  if (clones.length === 0) return null;
  const passed = new Set([version, ...passedVersions(record, version)]);
  return clones.find(({ parent }) => passed.has(parent.version)) ?? null;
}

/** @throws RawstorError BUSY */
export function checkNotNeeded(core: OstCore, objectId: string): void {
  const [clone] = core.records.clones.over(objectId, core.ostId);
  if (clone !== undefined) throw neededError(clone, `object ${objectId}`);
}

export function neededError({ id, name, parent }: LocalClone, what: string): RawstorError {
  return new RawstorError('BUSY', `clone '${name}' on this OST lies over it`, {
    where: `${what}, named as ${parent.name} by ${id}`,
    hint: 'it goes when that clone has been removed or flattened here too; this OST tries again by itself',
  });
}
