import { expect, test } from 'vitest';
import { allVolumes } from '../../../src/cli/volumes.js';
import type { Cluster } from '../../../src/client/index.js';

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
