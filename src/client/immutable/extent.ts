import { z } from 'zod';
import { idSchema } from '../../protocol/records.js';

const count = z.number().int().nonnegative().max(Number.MAX_SAFE_INTEGER);

/** A piece of an immutable object's content: a range of a version of an object on the OSTs. Bytes. */
export const extentSchema = z.object({
  objectId: idSchema,
  /** It was written to this version or an older one, and is not changed since. */
  version: z.number().int().min(1),
  offset: count,
  length: count,
});
export type Extent = z.infer<typeof extentSchema>;

export function lengthOf(extents: readonly Extent[]): number {
  return extents.reduce((sum, one) => sum + one.length, 0);
}

/** Neighbours in content that are neighbours on the OSTs become one. */
export function joined(extents: readonly Extent[]): Extent[] {
  const found: Extent[] = [];
  for (const extent of extents) {
    if (extent.length === 0) continue;
    const last = found.at(-1);
    const follows =
      last !== undefined && last.objectId === extent.objectId && last.offset + last.length === extent.offset;
    if (!follows) found.push({ ...extent });
    else {
      last.length += extent.length;
      last.version = Math.max(last.version, extent.version);
    }
  }
  return found;
}

/** The part of the content from `from` up to `to`. */
export function cut(extents: readonly Extent[], from: number, to: number): Extent[] {
  const found: Extent[] = [];
  let at = 0;
  for (const extent of extents) {
    const start = Math.max(from - at, 0);
    const end = Math.min(to - at, extent.length);
    if (start < end) found.push({ ...extent, offset: extent.offset + start, length: end - start });
    at += extent.length;
    if (at >= to) break;
  }
  return found;
}
