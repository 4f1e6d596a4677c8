import { expect, test } from 'vitest';
import { MiB } from '../../../src/common/units.js';
import type { ChunkFile } from '../../../src/ost/chunk-file.js';
import { SpaceGuard } from '../../../src/ost/space.js';
import type { ChunkStorage } from '../../../src/ost/storage.js';
import { objectRecord } from './support.js';

/** What is left of a disk that a move has filled. */

test('copies to a new member leave room for those who are there already', () => {
  const storage = { space: () => ({ capacityBytes: 1000 * MiB, freeBytes: 55 * MiB }) };
  const space = new SpaceGuard(storage as ChunkStorage, null, 0);
  const chunk = { object: { record: objectRecord(1) }, file: null } as unknown as ChunkFile;
  expect(space.allows(chunk, 0, 4 * MiB, true)).toBe(true);
  expect(space.allows(chunk, 0, 4 * MiB, true)).toBe(false);
  expect(space.allows(chunk, 0, 4 * MiB)).toBe(true);
});
