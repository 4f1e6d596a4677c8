import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { VhostGateway } from '../../../src/cli/vhost/vhost-gateway.js';
import type { Cluster } from '../../../src/client/index.js';
import { systemClock } from '../../../src/common/clock.js';
import { silentLogger } from '../../../src/common/log.js';
import { ClientRig, until } from './rig.js';

/** Starts of vhost servers that fail leave those that serve as they are. */

let rig: ClientRig;
let dir: string;
let clusters: Cluster[];
let gateways: VhostGateway[];
beforeEach(async () => {
  rig = await ClientRig.start(1);
  await rig.create('v', { replicas: 1 });
  await rig.create('w', { replicas: 1 });
  dir = mkdtempSync(join(tmpdir(), 'rawstor-vhost-'));
  [clusters, gateways] = [[], []];
});
afterEach(async () => {
  for (const gateway of gateways) await gateway.close();
  for (const cluster of clusters) await cluster.close();
  await rig.end();
  rmSync(dir, { recursive: true });
});

async function start(names: string[], options: { replace?: boolean; path?: string } = {}): Promise<void> {
  const { replace = false, path } = options;
  const cluster = await rig.connect('gateway');
  clusters.push(cluster);
  const places = names.map((name) => ({ name, socket: path ?? join(dir, `${name}.vhost`) }));
  const { io } = rig;
  gateways.push(
    await VhostGateway.start({ cluster, io, clock: systemClock, log: silentLogger, places, replace }),
  );
}

const session = async (name: string) => (await rig.object(name)).lease?.sessionEpoch ?? null;

test('a second server on a socket is refused before it opens anything', async () => {
  await start(['v']);
  const before = await session('v');
  await expect(start(['v'])).rejects.toMatchObject({ code: 'BUSY' });
  expect(await session('v')).toBe(before);
  expect(before).not.toBeNull();
});

test('a path with no room for the socket beside it opens nothing', async () => {
  const path = join(dir, 'x'.repeat(104 - dir.length - 1));
  await expect(start(['v'], { path })).rejects.toMatchObject({ code: 'USAGE' });
  expect(await session('v')).toBeNull();
});

test('several volumes are taken over together or not at all', async () => {
  await start(['v']);
  // Nobody serves the other one.
  await expect(start(['v', 'w'], { replace: true })).rejects.toMatchObject({ code: 'NOT_FOUND' });
  expect(gateways).toHaveLength(1);
  await start(['v'], { replace: true });
  await gateways[0]!.done;
  await until(async () => (await session('v')) !== null);
  expect(await session('w')).toBeNull();
});
