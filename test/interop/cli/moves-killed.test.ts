import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { MiB } from '../../../src/common/units.js';
import { until } from './programs.js';
import { done, imageBytes, Servers } from './servers.js';

/** `kill -9` in the middle of drains and rebalances: given again, they go on (real processes). */

const MINUTES = 60_000;
const SIZE = 32 * MiB;

let servers: Servers;
afterEach(() => servers.remove());

interface Info {
  id: string;
  map: { pool: { ostId: string }[] };
  members: { ostId: string; state: string }[];
  wanted: { from: string | null; to: string } | null;
  left: string[];
  recovery: { ostId: string; regionsDone: number; regionsTotal: number; copiedBytes: number }[];
}

const info = async (name: string): Promise<Info> =>
  JSON.parse((await done(servers.volume('info', name, '--output', 'json'))).stdout);
const poolOf = async (name: string) => (await info(name)).map.pool.map(({ ostId }) => ostId).sort();

async function imported(name: string, seed: number, ...layout: string[]): Promise<Buffer> {
  const bytes = imageBytes(seed, SIZE);
  writeFileSync(join(servers.cwd, name), bytes);
  await done(servers.volume('import', name, name, ...layout));
  return bytes;
}

async function expectBytes(name: string, content: Buffer): Promise<void> {
  await done(servers.volume('export', name, 'out', '--force'));
  expect(readFileSync(join(servers.cwd, 'out')).equals(content), name).toBe(true);
}

/**
 * Some of it is copied, and some is not. Holders tell it when they renew their leases, every three seconds: a move has
 * to take a few times as long.
 * @param begun fails when it is over, even if it has not been seen here
 */
async function underWay(name: string, begun = false): Promise<string> {
  let to = begun ? '?' : '';
  await until(async () => {
    const { wanted, recovery } = await info(name);
    const at = recovery.find(({ ostId }) => ostId === wanted?.to);
    to = wanted?.to ?? to;
    expect(to !== '' && wanted === null, 'the move is over already').toBe(false);
    return at !== undefined && at.copiedBytes >= 4 * MiB && at.regionsDone < at.regionsTotal;
  });
  return to;
}

/**
 * What lies on the disks against the map: every chunk is on the OSTs that the map names, with the same bytes, and on no
 * other. Where a pool has grown, OSTs of before keep what they had of chunks that moved to the new one.
 */
async function checkPlacement(name: string, osts: number, hasGrown = false): Promise<void> {
  const { id } = await info(name);
  const { stdout } = await done(servers.volume('map', name, '--output', 'json'));
  const wanted = (JSON.parse(stdout) as { chunk: number; ostIds: string[] }[])
    .flatMap(({ chunk, ostIds }) => ostIds.map((ostId) => `${chunk} ${ostId}`))
    .sort();
  const found: string[] = [];
  const contents = new Map<number, Buffer>();
  for (let index = 1; index <= osts; index++) {
    const dir = join(servers.cwd, `ost-${index}`, 'chunks');
    if (!existsSync(dir)) continue;
    for (const entry of readdirSync(dir, { recursive: true, withFileTypes: true })) {
      if (!entry.isFile() || !entry.parentPath.endsWith(id)) continue;
      const chunk = Number.parseInt(entry.name, 10);
      const place = `${chunk} ${servers.ostId(index)}`;
      if (hasGrown && !wanted.includes(place)) continue;
      const bytes = readFileSync(join(entry.parentPath, entry.name));
      found.push(place);
      const other = contents.get(chunk);
      if (other !== undefined) expect(bytes.equals(other), `chunk ${chunk} of ${name}`).toBe(true);
      contents.set(chunk, bytes);
    }
  }
  expect(found.sort()).toEqual(wanted);
}

/** As above; old copies are deleted a moment after the move. */
async function placedSoon(name: string, osts: number, hasGrown = false): Promise<void> {
  for (let i = 0; i < 20; i++) {
    const right = await checkPlacement(name, osts, hasGrown).then(
      () => true,
      () => false,
    );
    if (right) return;
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
  await checkPlacement(name, osts, hasGrown);
}

describe('a drain', () => {
  it(
    'whose command is killed is finished by the next, which does not copy again what is there',
    async () => {
      servers = await Servers.start(3);
      const content = await imported('v', 1);
      // Within two seconds of a write a seal does not cover it, and what is not sealed is copied again.
      await new Promise((resolve) => setTimeout(resolve, 2500));
      const [from] = await poolOf('v');
      const command = servers.begin('ost', 'drain', from!, '--rate', '2M');
      const to = await underWay('v');
      const { copiedBytes } = (await info('v')).recovery.find(({ ostId }) => ostId === to)!;
      command.kill('SIGKILL');
      await command;
      // It is nobody's yet, and what was draining is draining still.
      expect(await info('v')).toMatchObject({ wanted: { from, to } });
      expect((await servers.osts()).find(({ ostId }) => ostId === from)?.draining).toBe(true);
      const recover = async () => {
        const next = await done(servers.rawstor('recover', 'v', '--output', 'json'));
        return (JSON.parse(next.stdout) as { outcome: string; copiedBytes: number }[])[0]!;
      };
      let row = await recover();
      // The lease of the one that was killed goes on for a while.
      while (row.outcome === 'in use') row = await recover();
      expect(row).toMatchObject({ outcome: 'recovered' });
      expect(row.copiedBytes).toBeLessThanOrEqual(SIZE - copiedBytes);
      await done(servers.rawstor('ost', 'drain', from!));
      expect(await poolOf('v')).toContain(to);
      expect(await poolOf('v')).not.toContain(from);
      await expectBytes('v', content);
      await placedSoon('v', 3);
    },
    3 * MINUTES,
  );

  it(
    'goes on over the death of each of its servers',
    async () => {
      servers = await Servers.start(3);
      const content = await imported('v', 2);
      const [from] = await poolOf('v');
      const drain = (rate: string) => servers.rawstor('ost', 'drain', from!, '--rate', rate);
      let running = drain('2M');
      const to = await underWay('v');
      for (const name of [`ost-${servers.indexOf(to, 3)}`, `ost-${servers.indexOf(from!, 3)}`, 'mds']) {
        await servers.kill(name);
        name === 'mds' ? await servers.serveMds() : await servers.serveOst(Number(name.slice(4)));
        // One that has given up because the server was away is given again.
        const early = await Promise.race([running, new Promise<null>((go) => setTimeout(go, 1000, null))]);
        if (early !== null) {
          expect([0, 69, 75], early.stderr).toContain(early.code);
          running = drain('2M');
        }
      }
      const first = await running;
      expect([0, 69, 75], first.stderr).toContain(first.code);
      await until(async () => (await drain('100M')).code === 0);
      expect(await poolOf('v')).not.toContain(from);
      expect((await info('v')).members.every(({ state }) => state === 'in-sync')).toBe(true);
      await expectBytes('v', content);
      await placedSoon('v', 3);
    },
    4 * MINUTES,
  );
});

describe('a rebalance', () => {
  it(
    'onto an OST that was added fills all alike; killed in the middle, it goes on when it is given again',
    async () => {
      servers = await Servers.start(2);
      const contents = new Map<string, Buffer>();
      for (const [seed, name] of ['a', 'b', 'c'].entries()) contents.set(name, await imported(name, seed));
      const wide = ['--stripe-width', 'all', '--chunk-size', '1M'];
      contents.set('wide', await imported('wide', 9, ...wide));
      const full = await servers.rawstor('ost', 'rebalance', '--dry-run', '--output', 'json');
      expect(JSON.parse(full.stdout)).toEqual([]);
      await servers.serveOst(3);
      const fresh = servers.ostId(3);
      const planned = JSON.parse(
        (await done(servers.rawstor('ost', 'rebalance', '--dry-run', '--output', 'json'))).stdout,
      ) as { volume: string; from: string | null; to: string; state: string }[];
      expect(planned.map(({ to, state }) => [to, state])).toEqual(planned.map(() => [fresh, 'to move']));
      // Of three whole volumes two are moved, and the one over all OSTs grows.
      expect(planned.filter(({ from }) => from === null).map(({ volume }) => volume)).toEqual(['wide']);
      expect(planned.filter(({ from }) => from !== null)).toHaveLength(2);
      const command = servers.begin('ost', 'rebalance', '--rate', '1M');
      const moving = async () => {
        for (const name of contents.keys()) if ((await info(name)).wanted !== null) return name;
        return null;
      };
      await until(async () => (await moving()) !== null);
      const cut = (await moving())!;
      await underWay(cut, true);
      await servers.kill('ost-3');
      command.kill('SIGKILL');
      await command;
      await servers.serveOst(3);
      expect((await info(cut)).wanted).toMatchObject({ to: fresh });
      const again = await done(servers.rawstor('ost', 'rebalance', '--output', 'json'));
      const rows = JSON.parse(again.stdout) as { volume: string; state: string }[];
      expect(rows).toContainEqual(expect.objectContaining({ volume: cut, state: 'moved' }));
      const pools = await Promise.all([...contents.keys()].map(poolOf));
      expect(pools.filter((pool) => pool.includes(fresh))).toHaveLength(3);
      expect(pools.at(-1)).toHaveLength(3);
      const last = await done(servers.rawstor('ost', 'rebalance', '--dry-run', '--output', 'json'));
      expect(JSON.parse(last.stdout)).toEqual([]);
      for (const [name, content] of contents) {
        await expectBytes(name, content);
        await placedSoon(name, 3, name === 'wide');
      }
    },
    5 * MINUTES,
  );
});
