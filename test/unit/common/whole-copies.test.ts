import { expect, test } from 'vitest';
import { placeChunk } from '../../../src/common/placement.js';
import { chunkWithout, everyChunkOn, isOnlyCopy } from '../../../src/common/whole-copies.js';
import { World } from '../../sim/world.js';

const MiB = 1024 * 1024;
const idOf = (number: number) => `01900000-0000-7000-8000-${number.toString(16).padStart(12, '0')}`;

function objectOf(osts: number, domains: number, replicas: number, chunks: number, rule: 'fixed' | 'hash') {
  const pool = Array.from({ length: osts }, (_, i) => ({
    ostId: idOf(i + 1),
    weight: 1 + (i % 3),
    domain: `d${i % domains}`,
  }));
  const map = { rule, pool, nearDomain: '', exceptions: [] as { chunk: number; ostIds: string[] }[] };
  return { id: idOf(99), map, replicas, sizeBytes: chunks * MiB, chunkSizeBytes: MiB };
}

test('is what looking at every chunk says, whatever the map', () => {
  const world = new World(7);
  const { random } = world;
  let lacking = 0;
  for (let round = 0; round < 400; round++) {
    const replicas = 1 + random.below(3);
    const fixed = world.chance(0.3);
    const osts = fixed ? replicas : replicas + random.below(4);
    const object = objectOf(
      osts,
      1 + random.below(osts),
      replicas,
      1 + random.below(40),
      fixed ? 'fixed' : 'hash',
    );
    if (world.chance(0.3)) {
      const chunk = random.below(object.sizeBytes / MiB);
      object.map.exceptions.push({ chunk, ostIds: [idOf(1 + random.below(osts))] });
    }
    const some = new Set(object.map.pool.map(({ ostId }) => ostId).filter(() => world.chance(0.6)));
    let first: number | null = null;
    for (let chunk = 0; chunk < object.sizeBytes / MiB && first === null; chunk++) {
      const placed = placeChunk(object.map, object.id, replicas, chunk);
      if (!placed.some((ostId) => some.has(ostId))) first = chunk;
    }
    expect(chunkWithout(object, some), `round ${round}`).toBe(first);
    if (first !== null) lacking++;
  }
  expect(lacking).toBeGreaterThan(50);
});

test('of more chunks than are looked at nobody is told that all are there', () => {
  const object = objectOf(8, 8, 2, 300_000, 'hash');
  const ids = object.map.pool.map(({ ostId }) => ostId);
  expect(everyChunkOn(object, new Set(ids.slice(1)))).toBe(true);
  // All but two: each chunk on those two alone is found early.
  expect(chunkWithout(object, new Set(ids.slice(2)))).toBeLessThan(1000);
});

test('an only copy is one without which some chunk has none in sync', () => {
  const object = objectOf(3, 3, 2, 64, 'hash');
  const [a, b, c] = object.map.pool.map(({ ostId }) => ostId) as [string, string, string];
  const members = (...stale: string[]) =>
    [a, b, c].map((ostId) => ({
      ostId,
      state: stale.includes(ostId) ? ('stale' as const) : ('in-sync' as const),
    }));
  expect(isOnlyCopy({ ...object, members: members() }, a)).toBe(false);
  expect(isOnlyCopy({ ...object, members: members(b) }, a)).toBe(true);
  expect(isOnlyCopy({ ...object, members: members(b, c) }, b)).toBe(true);
});
