import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { RawstorError } from '../../../src/common/errors.js';
import { GiB, MiB, TiB } from '../../../src/common/units.js';
import { type AllocationSpec, allocate, type Candidate, reserveBytes } from '../../../src/mds/allocate.js';
import { type ChunkMap, chunkMapSchema } from '../../../src/protocol/index.js';
import { ostInfo, testId } from './support.js';

const OBJECT = testId(0xbeef);

function spec(changes: Partial<AllocationSpec> = {}): AllocationSpec {
  return { replicas: 2, stripeWidth: 1, failureDomain: 'host', near: null, ...changes };
}

/** OSTs 1, 2, ... on these hosts. */
function onHosts(...hosts: string[]): Candidate[] {
  return hosts.map((host, i) => ({
    alive: true,
    info: ostInfo(i + 1, { labels: { host, rack: `r${host}` } }),
  }));
}

function refusal(wanted: AllocationSpec, osts: readonly Candidate[]): string {
  try {
    allocate(wanted, osts, OBJECT);
  } catch (error) {
    if (error instanceof RawstorError && error.code === 'UNSATISFIABLE') return error.toUserText();
    throw error;
  }
  throw new Error('was not refused');
}

const ids = (map: ChunkMap) => map.pool.map((t) => t.ostId);
const domains = (map: ChunkMap) => new Set(map.pool.map((t) => t.domain));

describe('stripe width 1', () => {
  test('is a fixed set of as many OSTs as replicas, on distinct hosts', () => {
    const map = allocate(spec({ replicas: 3 }), onHosts('a', 'a', 'b', 'b', 'c'), OBJECT);
    expect(map.rule).toBe('fixed');
    expect([...domains(map)].sort()).toEqual(['a', 'b', 'c']);
    expect(map.pool).toHaveLength(3);
  });

  test('has the near OST first', () => {
    for (const near of ['a', 'b', 'c']) {
      const map = allocate(spec({ near }), onHosts('a', 'b', 'c'), OBJECT);
      expect(map.pool[0]!.domain).toBe(near);
      expect(map.nearDomain).toBe(near);
    }
  });

  test('near is a host also where the failure domain is a rack', () => {
    const map = allocate(spec({ near: 'b', failureDomain: 'rack' }), onHosts('a', 'b', 'c'), OBJECT);
    expect(ids(map)[0]).toBe(testId(2));
    expect(map.nearDomain).toBe('rb');
  });

  test('different objects go to different OSTs, more often to those with more space', () => {
    const osts = onHosts('a', 'b', 'c', 'd');
    (osts[0]!.info as { freeBytes: number }).freeBytes = 40 * GiB;
    const counts = new Map<string, number>();
    for (let object = 0; object < 2000; object++) {
      const [first] = ids(allocate(spec({ replicas: 1 }), osts, testId(object)));
      counts.set(first!, (counts.get(first!) ?? 0) + 1);
    }
    expect(counts.get(testId(1))! / 2000).toBeCloseTo(40 / 280, 1);
    expect(counts.get(testId(2))! / 2000).toBeCloseTo(80 / 280, 1);
  });
});

describe('wider stripes', () => {
  test('n takes n OSTs over as many domains as there are', () => {
    const map = allocate(spec({ stripeWidth: 4 }), onHosts('a', 'a', 'a', 'a', 'b', 'c', 'd'), OBJECT);
    expect(map.rule).toBe('hash');
    expect(map.pool).toHaveLength(4);
    expect(domains(map).size).toBe(4);
  });

  test('all takes every alive OST with space, weighted by free space', () => {
    const osts = onHosts('a', 'b', 'c', 'd');
    const dead: Candidate = { ...osts[3]!, alive: false };
    const map = allocate(spec({ stripeWidth: 'all' }), [...osts.slice(0, 3), dead], OBJECT);
    expect(ids(map).sort()).toEqual([testId(1), testId(2), testId(3)]);
    expect(map.pool[0]!.weight).toBe(80 * GiB);
  });

  test('all with one OST and one replica is that OST', () => {
    expect(ids(allocate(spec({ stripeWidth: 'all', replicas: 1 }), onHosts('a'), OBJECT))).toEqual([
      testId(1),
    ]);
  });
});

test('an OST without the label is a domain of its own', () => {
  const osts = onHosts('a', 'a', 'a');
  const map = allocate(spec({ replicas: 3, failureDomain: 'ost' }), osts, OBJECT);
  expect([...domains(map)].sort()).toEqual([testId(1), testId(2), testId(3)]);
});

test('a label that no OST has is refused, not taken for one domain an OST', () => {
  const osts = onHosts('a', 'a', 'a');
  const wanted = spec({ replicas: 2, failureDomain: 'hots' });
  expect(() => allocate(wanted, osts, OBJECT)).toThrowError(
    expect.objectContaining({ code: 'UNSATISFIABLE', message: expect.stringContaining("'hots'") }),
  );
  const racked = { ...osts[0]!, info: { ...osts[0]!.info, labels: { host: 'a', rack: 'r' } } };
  const some = allocate(spec({ replicas: 2, failureDomain: 'rack' }), [racked, osts[1]!], OBJECT);
  expect(domains(some).size).toBe(2);
});

test('whatever is allocated is a valid map in distinct domains without dead or full OSTs, or refused', () => {
  const anyOst = fc.record({
    host: fc.nat({ max: 4 }),
    alive: fc.boolean(),
    freeBytes: fc.oneof(fc.nat({ max: 200 * MiB }), fc.integer({ min: GiB, max: 100 * GiB })),
  });
  const anySpec = fc.record({
    replicas: fc.integer({ min: 1, max: 3 }),
    stripeWidth: fc.oneof(fc.constant('all' as const), fc.integer({ min: 3, max: 6 }), fc.constant(1)),
    near: fc.option(fc.nat({ max: 5 }).map((n) => `h${n}`)),
  });
  fc.assert(
    fc.property(fc.array(anyOst, { maxLength: 10 }), anySpec, fc.nat(), (list, wanted, object) => {
      const osts = list.map(({ host, alive, freeBytes }, i) => ({
        alive,
        info: ostInfo(i + 1, { labels: { host: `h${host}` }, freeBytes }),
      }));
      const good = osts.filter((o) => o.alive && o.info.freeBytes >= reserveBytes(o.info));
      const hosts = new Set(good.map((o) => o.info.labels.host));
      const { replicas, stripeWidth, near } = wanted;
      const width = stripeWidth === 'all' ? good.length : stripeWidth === 1 ? replicas : stripeWidth;
      const possible = hosts.size >= replicas && good.length >= width && (near === null || hosts.has(near));
      if (!possible) return void refusal(spec(wanted), osts);
      const map = allocate(spec(wanted), osts, testId(object));
      expect(chunkMapSchema.safeParse(map).success).toBe(true);
      expect(map.pool).toHaveLength(width);
      expect(new Set(ids(map)).size).toBe(width);
      expect(domains(map).size).toBe(Math.min(width, hosts.size));
      for (const id of ids(map)) expect(good.map((o) => o.info.ostId)).toContain(id);
      expect(map.nearDomain).toBe(near ?? '');
      if (near !== null) expect(map.pool[0]!.domain).toBe(near);
    }),
  );
});

describe('what cannot be placed is refused, saying why', () => {
  test('too few hosts', () => {
    const text = refusal(spec({ replicas: 3 }), onHosts('a', 'a', 'b'));
    expect(text).toContain('3 replicas on distinct hosts');
    expect(text).toContain('3 OSTs on 2 hosts (a, b)');
    expect(text).toMatch(/lower the replicas/);
  });

  test('dead OSTs are named', () => {
    const osts = onHosts('a', 'b').map((o, i) => (i === 1 ? { ...o, alive: false } : o));
    const text = refusal(spec(), osts);
    expect(text).toContain(`1 dead (${testId(2)})`);
    expect(text).toMatch(/bring the dead OSTs back/);
  });

  test('full OSTs are named with what they have', () => {
    const [a, b] = onHosts('a', 'b');
    const full = { alive: true, info: { ...b!.info, freeBytes: 12 * MiB } };
    expect(refusal(spec(), [a!, full])).toContain(`1 full (${testId(2)}, 12 MiB free)`);
  });

  test('too few OSTs for the stripe', () => {
    const text = refusal(spec({ stripeWidth: 5 }), onHosts('a', 'b', 'c'));
    expect(text).toContain('over 5 OSTs');
    expect(text).toMatch(/lower the stripe width/);
  });

  test('no OST at all', () => {
    expect(refusal(spec({ stripeWidth: 'all' }), [])).toMatch(/no OST has registered/);
  });

  test('a near host that nobody has', () => {
    const text = refusal(spec({ near: 'x' }), onHosts('a', 'b'));
    expect(text).toContain("near 'x'");
    expect(text).toContain('hosts with OSTs: a, b');
  });
});

test('the reserve is a hundredth within bounds', () => {
  expect(reserveBytes({ capacityBytes: GiB })).toBe(64 * MiB);
  expect(reserveBytes({ capacityBytes: 100 * GiB })).toBe(GiB);
  expect(reserveBytes({ capacityBytes: 100 * TiB })).toBe(10 * GiB);
});
