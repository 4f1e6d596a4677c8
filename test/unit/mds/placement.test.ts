import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { negativeLog } from '../../../src/common/hash.js';
import { Placement, type PlacementMap, placeChunk } from '../../../src/common/placement.js';
import { testId } from './support.js';

const OBJECT = testId(0xabcdef);

function mapOf(
  weights: number[],
  changes: Partial<PlacementMap> & { domains?: string[] } = {},
): PlacementMap {
  const { domains, ...rest } = changes;
  const pool = weights.map((weight, i) => ({
    ostId: testId(i + 1),
    weight,
    domain: domains?.[i] ?? `d${i}`,
  }));
  return { rule: 'hash', pool, nearDomain: '', exceptions: [], ...rest };
}

const anyMap = fc
  .array(fc.record({ weight: fc.integer({ min: 1, max: 1e12 }), domain: fc.nat({ max: 5 }) }), {
    minLength: 1,
    maxLength: 24,
  })
  .map((osts) =>
    mapOf(
      osts.map((o) => o.weight),
      { domains: osts.map((o) => `d${o.domain}`) },
    ),
  );
const anyChunk = fc.nat({ max: 2 ** 24 });

describe('placement', () => {
  test('is what it was: stored maps rely on it', () => {
    const map = mapOf([1, 2, 3, 4, 5]);
    const shown = [0, 1, 2, 3, 4, 1000, 16_777_215].map((chunk) =>
      placeChunk(map, OBJECT, 3, chunk).map((id) => Number.parseInt(id.slice(-2), 16)),
    );
    expect(shown).toEqual(GOLDEN);
  });

  test('puts replicas in distinct domains, as many as there can be', () => {
    fc.assert(
      fc.property(anyMap, fc.integer({ min: 1, max: 3 }), anyChunk, (map, replicas, chunk) => {
        const placed = placeChunk(map, OBJECT, replicas, chunk);
        const domains = placed.map((id) => map.pool.find((t) => t.ostId === id)!.domain);
        const available = new Set(map.pool.map((t) => t.domain)).size;
        expect(new Set(domains).size).toBe(placed.length);
        expect(placed.length).toBe(Math.min(replicas, available));
      }),
    );
  });

  test('depends neither on the order of the pool nor on what was asked before', () => {
    fc.assert(
      fc.property(anyMap, anyChunk, anyChunk, (map, chunk, other) => {
        const fresh = new Placement({ ...map, pool: [...map.pool].reverse() }, OBJECT, 2);
        placeChunk(map, OBJECT, 3, other);
        expect(placeChunk(map, OBJECT, 2, chunk)).toEqual(fresh.place(chunk));
      }),
    );
  });

  test('equal draws are decided by the ids', () => {
    const equal = mapOf([Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY]);
    for (const pool of [equal.pool, [...equal.pool].reverse()]) {
      expect(placeChunk({ ...equal, pool }, OBJECT, 2, 9)).toEqual([testId(1), testId(2)]);
    }
  });

  test('the first replicas do not change with the number of replicas', () => {
    fc.assert(
      fc.property(anyMap, anyChunk, (map, chunk) => {
        const three = new Placement(map, OBJECT, 3).place(chunk);
        expect(three.slice(0, 1)).toEqual(new Placement(map, OBJECT, 1).place(chunk));
        expect(three.slice(0, 2)).toEqual(new Placement(map, OBJECT, 2).place(chunk));
      }),
    );
  });

  test('a near domain has the first replica of every chunk, and the others are elsewhere', () => {
    fc.assert(
      fc.property(anyMap, fc.nat(), anyChunk, (map, pick, chunk) => {
        const nearDomain = map.pool[pick % map.pool.length]!.domain;
        const [first, ...rest] = placeChunk({ ...map, nearDomain }, OBJECT, 3, chunk);
        const domainOf = (id: string) => map.pool.find((t) => t.ostId === id)!.domain;
        expect(domainOf(first!)).toBe(nearDomain);
        expect(rest.map(domainOf)).not.toContain(nearDomain);
      }),
    );
  });

  test('a near domain that the pool does not have changes nothing', () => {
    const map = mapOf([1, 1, 1]);
    expect(placeChunk({ ...map, nearDomain: 'elsewhere' }, OBJECT, 2, 5)).toEqual(
      placeChunk(map, OBJECT, 2, 5),
    );
  });

  test('rule fixed is the pool in its order; exceptions override single chunks', () => {
    const map = mapOf([1, 9, 1], {
      rule: 'fixed',
      exceptions: [{ chunk: 7, ostIds: [testId(3), testId(1)] }],
    });
    expect(placeChunk(map, OBJECT, 2, 0)).toEqual([testId(1), testId(2)]);
    expect(placeChunk(map, OBJECT, 2, 7)).toEqual([testId(3), testId(1)]);
    const hashed = { ...map, rule: 'hash' as const };
    expect(placeChunk(hashed, OBJECT, 2, 7)).toEqual([testId(3), testId(1)]);
  });

  test('spreads by weight within 20 %', () => {
    const CHUNKS = 20_000;
    const weights = fc.array(fc.integer({ min: 10, max: 20 }), { minLength: 6, maxLength: 10 });
    fc.assert(
      fc.property(weights, fc.integer({ min: 1, max: 3 }), fc.nat(), (list, replicas, object) => {
        const placement = new Placement(mapOf(list), testId(object), replicas);
        const held = new Map<string, number>();
        for (let chunk = 0; chunk < CHUNKS; chunk++) {
          for (const id of placement.place(chunk)) held.set(id, (held.get(id) ?? 0) + 1);
        }
        const total = list.reduce((a, b) => a + b);
        for (const [i, weight] of list.entries()) {
          const share = (held.get(testId(i + 1)) ?? 0) / (CHUNKS * replicas);
          expect(share / (weight / total)).toBeGreaterThan(0.8);
          expect(share / (weight / total)).toBeLessThan(1.2);
        }
      }),
      { numRuns: 12, seed: 42 },
    );
  });

  test('objects of one pool are placed differently', () => {
    const map = mapOf([1, 1, 1, 1]);
    const firsts = (object: number) =>
      Array.from({ length: 64 }, (_, chunk) => placeChunk(map, testId(object), 1, chunk)[0]);
    expect(firsts(1)).not.toEqual(firsts(2));
  });
});

test('negativeLog is -ln of a uniform word', () => {
  for (const word of [0, 1, 2, 3, 1000, 0x7fffffff, 0x80000000, 0xfffffffe, 0xffffffff]) {
    const expected = -Math.log((word + 0.5) / 2 ** 32);
    expect(Math.abs(negativeLog(word) - expected)).toBeLessThan(1e-11 * Math.max(1, expected));
  }
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 0xffffffff }), (word) => {
      expect(negativeLog(word)).toBeCloseTo(-Math.log((word + 0.5) / 2 ** 32), 10);
    }),
  );
});

const GOLDEN = [
  [5, 3, 2],
  [1, 5, 3],
  [3, 1, 2],
  [4, 2, 3],
  [2, 5, 4],
  [3, 4, 5],
  [4, 2, 5],
];
