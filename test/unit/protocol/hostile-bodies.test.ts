import { describe, expect, test } from 'vitest';
import type { z } from 'zod';
import { LIMITS } from '../../../src/common/limits.js';
import { MiB } from '../../../src/common/units.js';
import {
  checkCall,
  decodeCall,
  decodeMessage,
  encodeBody,
  METHODS,
  type MethodName,
  type ObjectRecord,
} from '../../../src/protocol/index.js';

/** A control message costs little to look at, whatever is in it; the largest that are meant pass. */

const id = (number: number) => `00000000-0000-4000-8000-${String(number).padStart(12, '0')}`;

/** The msgpack of a map or list of `count`, to be followed by what is in it. */
function head(type: 0xdd | 0xdf, count: number): Buffer {
  const bytes = Buffer.alloc(5);
  bytes[0] = type;
  bytes.writeUInt32BE(count, 1);
  return bytes;
}

const NIL = 0xc0;
const EMPTY_MAP = 0x80;
const EMPTY_LIST = 0x90;
const list = (count: number, of: number) => Buffer.concat([head(0xdd, count), Buffer.alloc(count, of)]);
const map = (fields: Record<string, Buffer>) =>
  Buffer.concat([
    head(0xdf, Object.keys(fields).length),
    ...Object.entries(fields).flatMap(([key, value]) => [encodeBody(key), value]),
  ]);
const call = (method: string, params: Buffer) => Buffer.concat([head(0xdd, 2), encodeBody(method), params]);

/** As many keys as fit, of two letters each. */
const keys = (count: number) =>
  Buffer.concat([
    head(0xdf, count),
    ...Array.from({ length: count }, () => Buffer.from('\xa2ab\xc0', 'latin1')),
  ]);

describe('a body that would take long to decode', () => {
  const fill = MiB - 100;
  test.each([
    ['a million nils', list(fill, NIL), 'values'],
    ['a million empty maps', list(fill, EMPTY_MAP), 'values'],
    ['lists, as few as are too many', list(LIMITS.controlContainers, EMPTY_LIST), 'containers'],
    ['maps, as few as are too many', list(LIMITS.controlContainers, EMPTY_MAP), 'containers'],
    ['one map of many keys', keys(LIMITS.controlKeys + 1), 'keys'],
    [
      'lists in lists in lists',
      Buffer.concat([head(0xdd, 10_000), Buffer.alloc(80_000, Buffer.from('9392909190919090', 'hex'))]),
      'containers',
    ],
  ])('is refused: %s', (_what, params, bound) => {
    const body = call('mds.confirmDeleted', params);
    expect(body.length).toBeLessThanOrEqual(LIMITS.controlBytes);
    const refusal = { code: 'PROTOCOL', message: expect.stringContaining(`too many ${bound}`) };
    expect(() => decodeCall(body)).toThrowError(expect.objectContaining(refusal));
  });
});

describe('a body full of what does not belong there', () => {
  const many = LIMITS.controlContainers - 10;
  const nils = list(LIMITS.controlValues - 100, NIL);
  const maps = list(many, EMPTY_MAP);
  const exceptions = (of: Buffer) =>
    map({ object: map({ members: of, map: map({ pool: encodeBody([]), exceptions: of }) }) });
  test.each([
    ['mds.confirmDeleted', map({ ostId: encodeBody(id(1)), objects: nils })],
    ['mds.confirmDeleted', map({ ostId: encodeBody(id(1)), objects: maps })],
    ['mds.catalogTransact', map({ checks: maps, puts: list(1, NIL), deletes: list(1, NIL) })],
    ['mds.changeMembers', map({ id: encodeBody(id(1)), members: maps })],
    ['ost.keepObject', exceptions(list(many / 2, EMPTY_MAP))],
    ['ost.attach', exceptions(list(100_000, NIL))],
    ['mds.registerOst', map({ labels: keys(LIMITS.controlKeys) })],
  ])('%s is told its first fault only', (method, params) => {
    const [name, decoded] = decodeCall(call(method, params));
    const faults = (): unknown[] => {
      try {
        return [checkCall(name, decoded, 'here')];
      } catch (error) {
        expect(error).toMatchObject({ code: 'INVALID', message: expect.stringContaining(method) });
        return ((error as Error).cause as z.ZodError).issues;
      }
    };
    expect(faults().length).toBeLessThan(30);
  });
});

describe('the largest messages that are meant pass', () => {
  const many = <T>(count: number, make: (i: number) => T) => Array.from({ length: count }, (_, i) => make(i));
  const member = (i: number) => ({
    ostId: id(i),
    state: 'in-sync' as const,
    bootId: { kernel: id(i), generation: i },
    staleSince: 0,
  });
  const record = (osts: number, snapshots: number): ObjectRecord => ({
    id: id(1),
    name: 'vm1',
    mode: 'mutable',
    sizeBytes: LIMITS.volumeSizeBytes,
    chunkSizeBytes: LIMITS.chunkSizeDefaultBytes,
    replicas: 3,
    minReplicas: 1,
    stripeWidth: 'all',
    failureDomain: 'host',
    onDegraded: 'pause',
    headVersion: snapshots + 1,
    headOver: snapshots,
    snapshots: many(snapshots, (i) => ({
      version: i + 1,
      over: i,
      name: `daily-${i}`,
      sizeBytes: LIMITS.volumeSizeBytes,
      createdWallMs: 1.7e12 + i,
      protected: false,
      origin: { objectId: id(i), version: i + 1 },
    })),
    parent: null,
    map: {
      rule: 'hash',
      pool: many(osts, (i) => ({ ostId: id(i), weight: 1e12 + i, domain: `host-${i}`, drawAs: id(i + 1) })),
      nearDomain: '',
      exceptions: many(osts, (i) => ({ chunk: i, ostIds: [id(i), id(i + 1)] })),
    },
    epoch: 7,
    lastSeal: 6,
    members: many(osts, member),
    createdWallMs: 1.7e12,
  });
  const info = (i: number) => ({
    ...record(12, 20),
    id: id(i),
    clean: true,
    lossWallMs: null,
    lease: { holder: 'x'.repeat(100), sessionEpoch: 3, sinceWallMs: 1.7e12 },
    sessionEpoch: 3,
    wanted: null,
    left: many(4, id),
    recovery: [],
  });
  const rows = LIMITS.regionsPerAnswer;

  const calls: [MethodName, unknown][] = [
    ['ost.attach', { object: record(LIMITS.poolMembers, 500), sessionEpoch: 3, sessionNumber: 1 }],
    [
      'ost.storeSet',
      {
        handle: 1,
        record: record(LIMITS.poolMembers, 500),
        set: {
          epoch: 4,
          members: many(LIMITS.poolMembers, member),
          joining: many(LIMITS.poolMembers, id),
          versions: record(0, LIMITS.snapshotsPerVolume),
        },
        lastSeal: 3,
        lossWallMs: null,
      },
    ],
    ['mds.confirmDeleted', { ostId: id(1), objects: many(25_000, id) }],
    [
      'mds.catalogTransact',
      {
        checks: many(120, (i) => ({ key: `k${i}`.padEnd(1800, 'x'), version: 2 ** 45 })),
        puts: many(120, (i) => ({ key: `k${i}`.padEnd(1800, 'x'), value: Buffer.alloc(4000, i) })),
        deletes: [],
      },
    ],
  ];
  test.each(calls)('call %s', (method, params) => {
    const body = encodeBody([method, params]);
    expect(body.length).toBeLessThanOrEqual(LIMITS.controlBytes);
    expect(checkCall(...decodeCall(body), 'here')[0]).toBe(method);
  });

  const answers: [MethodName, unknown][] = [
    ['mds.list', { objects: many(120, info) }],
    [
      'ost.regions',
      {
        rows: many(rows * 3, (i) => 2 ** 33 + i),
        next: { chunk: 1, region: 2 },
        copied: many(rows, (i) => i),
        copiedSince: 2 ** 40,
      },
    ],
    // Small numbers: the most values in the fewest bytes.
    [
      'ost.regions',
      { rows: many(rows * 3, () => 1), next: null, copied: many(rows, () => 1), copiedSince: 1 },
    ],
    ['mds.getObjPart', { chunks: many(24_000, (i) => [id(i)]) }],
    ['ost.extents', { runs: many(LIMITS.extentsPerAnswer * 2, (i) => i) }],
    [
      'mds.catalogRange',
      { entries: many(1000, (i) => ({ key: `k${i}`, value: Buffer.alloc(900), version: i })), more: true },
    ],
  ];
  test.each(answers)('answer to %s', (method, answer) => {
    const body = encodeBody(answer);
    expect(body.length).toBeLessThanOrEqual(LIMITS.controlBytes);
    const parsed = METHODS[method].result.safeParse(decodeMessage(body));
    expect(parsed.error).toBeUndefined();
  });
});
