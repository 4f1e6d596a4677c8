import { expect, test } from 'vitest';
import { decideOpen, type OpenFinding } from '../../../src/client/replica-set.js';
import type { ObjectRecord } from '../../../src/protocol/index.js';

/** All are suspect, and one was put back from an older copy: that is not the one to go on from. */

const IDS = ['a', 'b', 'c'];
const object = {
  id: '0',
  replicas: 3,
  sizeBytes: 1 << 20,
  chunkSizeBytes: 1 << 20,
  stripeWidth: 1,
  map: {
    rule: 'fixed',
    pool: IDS.map((ostId) => ({ ostId, weight: 1, domain: ostId })),
    nearDomain: '',
    exceptions: [],
  },
  members: IDS.map((ostId) => ({ ostId, state: 'in-sync', bootId: null, staleSince: 0 })),
} as unknown as ObjectRecord;

const lostPower = (ostId: string, more: Partial<OpenFinding> = {}): OpenFinding => ({
  ostId,
  reachable: true,
  recordedBootId: { kernel: 'before', generation: 1 },
  bootId: { kernel: 'after', generation: 1 },
  hasNewer: true,
  ...more,
});

test.each([
  ['a', 'b', 'c'],
  ['c', 'b', 'a'],
  ['b', 'c', 'a'],
])('whatever the order of members: %s %s %s', (...order) => {
  const of: Record<string, OpenFinding> = {
    a: lostPower('a', { older: true, storedEpoch: 9 }),
    b: lostPower('b', { storedEpoch: 12 }),
    c: lostPower('c', { older: true, storedEpoch: 2 }),
  };
  const { drop, loss } = decideOpen(
    object,
    order.map((id) => of[id]!),
    false,
    false,
  );
  expect([[...drop].sort(), loss]).toEqual([['a', 'c'], true]);
});

test('of older ones the newest stays', () => {
  const findings = [
    lostPower('a', { older: true, storedEpoch: 9 }),
    lostPower('c', { older: true, storedEpoch: 2 }),
  ];
  const two = {
    ...object,
    replicas: 2,
    map: { ...object.map, pool: object.map.pool.filter(({ ostId }) => ostId !== 'b') },
  };
  expect([...decideOpen(two, findings, true, false).drop]).toEqual(['c']);
});
