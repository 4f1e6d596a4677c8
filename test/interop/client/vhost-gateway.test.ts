import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { VhostGateway } from '../../../src/cli/vhost/vhost-gateway.js';
import type { Cluster } from '../../../src/client/index.js';
import { type Clock, systemClock } from '../../../src/common/clock.js';
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

/** What happens at each opening of a volume. */
type Around = (open: () => Promise<unknown>) => Promise<unknown>;

async function start(
  names: string[],
  options: { replace?: boolean; path?: string; as?: string; around?: Around; clock?: Clock } = {},
): Promise<void> {
  const { replace = false, path, as = 'gateway', around, clock = systemClock } = options;
  const cluster = await rig.connect(as);
  if (around !== undefined) {
    const openMovable = cluster.openMovable.bind(cluster);
    cluster.openMovable = (...args) => around(() => openMovable(...args)) as ReturnType<typeof openMovable>;
  }
  clusters.push(cluster);
  const places = names.map((name) => ({ name, socket: path ?? join(dir, `${name}.vhost`) }));
  const { io } = rig;
  gateways.push(
    await VhostGateway.start({
      cluster,
      io,
      clock,
      log: silentLogger,
      places,
      replace,
      againMs: 100,
    }),
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

test('one volume that is taken away takes no other with it, and comes back when it can', async () => {
  await start(['v', 'w']);
  const gateway = gateways[0]!;
  let failure: unknown = null;
  void gateway.failed.then((error) => {
    failure = error;
  });
  const before = await session('w');
  const thief = await rig.connect('thief');
  clusters.push(thief);
  const taken = await thief.openVolume('v', { mode: 'write', force: true, holder: 'thief' });
  await until(() => gateway.down.includes('v'));
  expect(gateway.down).toEqual(['v']);
  expect(await session('w')).toBe(before);
  expect(failure).toBeNull();
  await taken.close();
  await until(() => gateway.down.length === 0);
  expect(await session('v')).not.toBeNull();
  expect(await session('w')).toBe(before);
});

test('what is said of a volume is why it was lost, not what is in the way of serving it again', async () => {
  let refused = 0;
  const around: Around = (open) =>
    open().catch((error) => {
      refused += 1;
      throw error;
    });
  await start(['v', 'w'], { around });
  const thief = await rig.connect('thief');
  clusters.push(thief);
  await thief.openVolume('v', { mode: 'write', force: true, holder: 'thief' });
  await until(() => refused >= 2);
  await thief.openVolume('w', { mode: 'write', force: true, holder: 'thief' });
  expect(await gateways[0]!.failed).toMatchObject({ code: 'FENCED' });
});

test('a volume that comes back while all is closed is closed too', async () => {
  let opens = 0;
  let letOn = () => {};
  const held = new Promise<void>((resolve) => {
    letOn = resolve;
  });
  const around: Around = async (open) => {
    opens += 1;
    if (opens > 2) await held;
    return await open();
  };
  await start(['v', 'w'], { around });
  const thief = await rig.connect('thief');
  clusters.push(thief);
  const taken = await thief.openVolume('v', { mode: 'write', force: true, holder: 'thief' });
  await until(() => gateways[0]!.down.includes('v'));
  await taken.close();
  await until(() => opens === 3);
  let on = false;
  setTimeout(() => {
    on = true;
    letOn();
  }, 500);
  await gateways[0]!.close();
  expect(on).toBe(true);
  expect(await session('v')).toBeNull();
});

test('a volume that cannot be opened at the start keeps no other down', async () => {
  await start(['none', 'v']);
  const gateway = gateways[0]!;
  expect(gateway.down).toEqual(['none']);
  expect(await session('v')).not.toBeNull();
  await rig.create('none', { replicas: 1 });
  await until(() => gateway.down.length === 0);
  expect(await session('none')).not.toBeNull();
});

test('when none is left, it is said which failed', async () => {
  await expect(start(['none', 'nor-this'])).rejects.toMatchObject({
    code: 'NOT_FOUND',
    message: expect.stringMatching(/none: .*; nor-this: /),
    where: 'none, nor-this',
  });
  await start(['v', 'w']);
  const thief = await rig.connect('thief');
  clusters.push(thief);
  for (const name of ['v', 'w'])
    await thief.openVolume(name, { mode: 'write', force: true, holder: 'thief' });
  const error = await gateways[0]!.failed;
  expect(error).toMatchObject({ code: 'FENCED', message: expect.stringMatching(/v: .*w: |w: .*v: /) });
});

test('another volume does not take the place of the one that a guest has', async () => {
  const path = join(dir, 'a.vhost');
  // Both were opened as often as each other.
  await start(['w'], { path: join(dir, 'b.vhost') });
  await gateways.pop()!.close();
  await start(['v'], { path });
  const before = await session('v');
  await expect(start(['w'], { replace: true, path })).rejects.toMatchObject({
    code: 'USAGE',
    message: expect.stringContaining("does not serve 'w'"),
  });
  expect(await session('w')).toBeNull();
  // It is still where it was, and goes over to a server of its own.
  await start(['v'], { replace: true, path });
  await gateways[0]!.done;
  expect(await session('v')).toBeGreaterThan(before!);
});

test('several volumes go over at the same time', async () => {
  await start(['v', 'w']);
  let opens = 0;
  const around: Around = async (open) => {
    opens += 1;
    await until(() => opens === 2, 5000);
    return await open();
  };
  await start(['v', 'w'], { replace: true, around });
  await gateways[0]!.done;
  expect(gateways[1]!.down).toEqual([]);
});

test('where it takes too long for one of several, all go on where they were', async () => {
  const after: Clock['after'] = (ms, action) => systemClock.after(ms === 30_000 ? 700 : ms, action);
  await start(['v', 'w'], { clock: Object.assign(Object.create(systemClock) as Clock, { after }) });
  let opens = 0;
  const around: Around = async (open) => {
    if (++opens === 2) await systemClock.sleep(1500);
    return await open();
  };
  await expect(start(['v', 'w'], { replace: true, around })).rejects.toThrow();
  expect(gateways).toHaveLength(1);
  await start(['v', 'w'], { replace: true });
  await gateways[0]!.done;
  expect(gateways[1]!.down).toEqual([]);
});
