import { expect, test } from 'vitest';
import { rowOf } from '../../../src/cli/volume-row.js';
import { allVolumes } from '../../../src/cli/volumes.js';
import type { Cluster } from '../../../src/client/index.js';
import type { ObjectInfo } from '../../../src/protocol/index.js';

test('a page with fewer volumes than asked for is not the last one', async () => {
  const names = Array.from({ length: 7 }, (_, i) => `v${i}`);
  const asked: string[] = [];
  // No MDS of today gives fewer than it has; what counts here is only the order of calls.
  const call = async (_method: string, { after }: { after: string }) => {
    asked.push(after);
    return {
      objects: names
        .filter((name) => name > after)
        .slice(0, 3)
        .map((name) => ({ name })),
    };
  };
  const found = await allVolumes({ mds: { call } } as unknown as Cluster, 1000);
  expect(found.map(({ name }) => name)).toEqual(names);
  expect(asked).toEqual(['', 'v2', 'v5', 'v6']);
});

test('of a striped volume in the middle of a move its OSTs in sync are told of all it has, not of its replicas', () => {
  const member = (ostId: string, state: 'in-sync' | 'stale') => ({
    ostId,
    state,
    bootId: null,
    staleSince: 0,
  });
  const volume = {
    name: 'v',
    replicas: 2,
    minReplicas: 1,
    lossWallMs: null,
    lease: null,
    wanted: { from: 'ost-a', to: 'ost-e' },
    recovery: [],
    members: [
      member('ost-a', 'in-sync'),
      member('ost-b', 'in-sync'),
      member('ost-c', 'in-sync'),
      member('ost-d', 'stale'),
    ],
  } as unknown as ObjectInfo;
  expect(rowOf(volume, () => true)).toMatchObject({ health: 'degraded', inSync: 3, members: 4, replicas: 2 });
  expect(rowOf(volume, (ostId) => ostId !== 'ost-b')).toMatchObject({ inSync: 2, members: 4 });
});
