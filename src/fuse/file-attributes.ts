import type { Attributes } from './answers.js';
import { fileState } from './file-state.js';
import { inodeOf, keyOf } from './nodes.js';
import { snapshotState } from './open-files.js';
import type { Found, TreeParts } from './tree.js';

/** Of a volume or snapshot, as stat(2) shows it. `removed`: only who has it open sees it still. */
export async function attributesOf(
  { owners, usage, files }: TreeParts,
  { place, info, snapshot }: Found,
  removed: boolean,
): Promise<Attributes> {
  const key = keyOf(place);
  const usedBytes = await usage.of(info, snapshot?.version ?? null, files.newest(key, info) !== null);
  // Asked last: it may be written to meanwhile.
  const state = files.newest(key, info) ?? (snapshot === null ? fileState(info) : snapshotState(snapshot));
  const { sizeBytes, modifiedWallMs } = state;
  return {
    ino: inodeOf(place),
    sizeBytes,
    usedBytes: usedBytes ?? sizeBytes,
    mtimeMs: modifiedWallMs,
    ctimeMs: modifiedWallMs,
    links: removed ? 0 : 1,
    ...owners.of(place),
  };
}
