import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { type Outcome, until } from './programs.js';
import { done, imageBytes, Servers } from './servers.js';

/** Real servers; the MDS is killed and its directory wiped. */

let servers: Servers;
let cwd: string;
let host: string;

beforeEach(async () => {
  servers = await Servers.start(3);
  ({ cwd, host } = servers);
});
afterEach(() => servers.remove());

const rawstor = (...args: string[]): Promise<Outcome> => servers.rawstor(...args);
const volume = (...args: string[]): Promise<Outcome> => servers.volume(...args);

function image(name: string, seed: number, sizeBytes: number): Buffer {
  const bytes = imageBytes(seed, sizeBytes);
  writeFileSync(join(cwd, name), bytes);
  return bytes;
}

it('volumes survive the MDS, byte for byte: rebuild, and load of an old dump', async () => {
  const MIB = 1024 * 1024;
  const kinds: Record<string, string[]> = {
    one: ['--replicas', '1'],
    two: ['--replicas', '2'],
    three: ['--replicas', '3'],
    wide: ['--replicas', '2', '--stripe-width', 'all', '--chunk-size', '1M'],
  };
  const images = new Map<string, Buffer>();
  for (const [seed, [name, layout]] of Object.entries(kinds).entries()) {
    images.set(name, image(`${name}.img`, seed, 6 * MIB));
    await done(volume('import', `${name}.img`, name, ...layout));
  }
  await done(rawstor('mds', 'dump', 'old.jsonl'));
  // After the dump: one that it does not know, one that it does not know to be gone, one with a stale replica.
  await done(volume('create', 'fresh', '--size', '1G'));
  await done(volume('rm', 'one', '--force'));
  const { map } = JSON.parse((await volume('info', 'two', '--output', 'json')).stdout);
  const ids = [1, 2, 3].map((index) => servers.ostId(index));
  const stale = 1 + ids.indexOf(map.pool[1].ostId);
  await servers.kill(`ost-${stale}`);
  images.set('two', image('two.img', 9, 6 * MIB));
  await done(volume('import', 'two.img', 'two', '--force'));
  await servers.kill('mds');
  await servers.serveOst(stale);

  const offline = await done(rawstor('mds', 'dump', '-', '--dir', 'mds'));
  expect(JSON.parse(offline.stdout.split('\n')[0]!)).toMatchObject({ rawstor: 'mds-dump', version: 3 });
  rmSync(join(cwd, 'mds'), { recursive: true });

  for (const how of [['rebuild'], ['load', 'old.jsonl']]) {
    rmSync(join(cwd, 'mds'), { recursive: true, force: true });
    const dry = await done(rawstor('mds', ...how, '--dir', 'mds', '--dry-run', '--output', 'json'));
    expect(existsSync(join(cwd, 'mds'))).toBe(false);
    const rows = JSON.parse(dry.stdout) as { name: string; fate: string; back: boolean }[];
    expect(Object.fromEntries(rows.filter(({ back }) => back).map((row) => [row.name, row.fate]))).toEqual({
      fresh: 'restored',
      two: 'restored',
      three: 'restored',
      wide: 'restored',
    });
    await done(rawstor('mds', ...how, '--dir', 'mds'));
    // Nothing is overwritten.
    const again = await rawstor('mds', ...how, '--dir', 'mds');
    expect(again).toMatchObject({ code: 73, stderr: expect.stringMatching(/not empty/) });
    await servers.serveMds();
    const other = await rawstor('mds', ...how, '--dir', 'mds2');
    expect(other).toMatchObject({
      code: 75,
      stderr: expect.stringMatching(/an MDS of this cluster is running/),
    });
    if (how[0] === 'rebuild') {
      const { members } = JSON.parse((await volume('info', 'two', '--output', 'json')).stdout);
      expect(members.filter(({ state }: { state: string }) => state === 'stale')).toMatchObject([
        { ostId: ids[stale - 1] },
      ]);
    }
    for (const name of ['two', 'three', 'wide']) {
      await until(async () => (await volume('export', name, 'out.img', '--force')).code === 0);
      expect(readFileSync(join(cwd, 'out.img')).equals(images.get(name)!), name).toBe(true);
      rmSync(join(cwd, 'out.img'));
    }
    await servers.kill('mds');
  }
}, 240_000);

it('refuses what it cannot answer for, and says what to do', async () => {
  await done(volume('create', 'v', '--size', '1G', '--replicas', '3'));
  await done(volume('create', 'w', '--size', '1G', '--replicas', '1', '--failure-domain', 'ost'));
  await servers.kill('mds');
  await servers.kill('ost-3');
  const refused = await rawstor('mds', 'rebuild', '--dir', 'new');
  expect(refused).toMatchObject({
    code: 69,
    stderr: expect.stringMatching(/did not answer.*\n.*--allow-missing/),
  });
  expect(existsSync(join(cwd, 'new'))).toBe(false);
  const allowed = await done(
    rawstor('mds', 'rebuild', '--dir', 'new', '--allow-missing', '--output', 'json'),
  );
  const fates = Object.fromEntries(
    (JSON.parse(allowed.stdout) as { name: string; fate: string }[]).map(({ name, fate }) => [name, fate]),
  );
  expect(fates.v).toBe('loss');

  const full = join(cwd, 'full');
  mkdirSync(full);
  writeFileSync(join(full, 'somebody.txt'), 'x');
  expect(await rawstor('mds', 'rebuild', '--dir', 'full', '--allow-missing')).toMatchObject({ code: 73 });
  expect(readdirSync(full)).toEqual(['somebody.txt']);
  expect(await rawstor('mds', 'rebuild', '--dir', 'x', '--ost', `${host}:1`)).toMatchObject({ code: 69 });
  writeFileSync(join(cwd, 'bad.jsonl'), '{"rawstor":"mds-dump"}\n');
  expect(await rawstor('mds', 'load', 'bad.jsonl', '--dir', 'x')).toMatchObject({ code: 65 });
  expect(await rawstor('mds', 'load', 'none.jsonl', '--dir', 'x')).toMatchObject({ code: 66 });
  expect(await rawstor('mds', 'dump', '-', '--dir', 'x')).toMatchObject({ code: 66 });
});

it('an OST that was being drained stays marked over a rebuild without a dump, which says so', async () => {
  await done(volume('create', 'v', '--size', '64M'));
  const drained = servers.ostId(2);
  const marks = async () => {
    const osts: { ostId: string; draining: boolean }[] = JSON.parse(
      (await done(rawstor('ost', 'ls', '--output', 'json'))).stdout,
    );
    return osts.filter(({ draining }) => draining).map(({ ostId }) => ostId);
  };
  await rawstor('ost', 'drain', drained);
  expect(await marks()).toEqual([drained]);
  // OSTs hear of it with their next heartbeat.
  await new Promise((resolve) => setTimeout(resolve, 2500));
  await servers.kill('mds');
  await servers.kill('ost-2');
  await servers.serveOst(2);
  rmSync(join(cwd, 'mds'), { recursive: true });
  const rebuilt = await done(rawstor('mds', 'rebuild', '--dir', 'mds'));
  expect(rebuilt.stderr).toContain(`give \`rawstor ost drain ${drained}\` again`);
  expect(rebuilt.stderr).toContain('moves that were wanted are not known');
  await servers.serveMds();
  expect(await marks()).toEqual([drained]);
  await done(rawstor('ost', 'drain', drained, '--cancel'));
  expect(await marks()).toEqual([]);
}, 60_000);

it('an OST that only the MGS knows is told exactly, and passed over when it has been away for long', async () => {
  await done(volume('create', 'v', '--size', '64M', '--replicas', '2'));
  const { members } = JSON.parse((await done(volume('info', 'v', '--output', 'json'))).stdout);
  const has = (index: number) =>
    members.some((member: { ostId: string }) => member.ostId === servers.ostId(index));
  const stray = [1, 2, 3].find((index) => !has(index))!;
  const needed = [1, 2, 3].find(has)!;
  const ids = { stray: servers.ostId(stray), needed: servers.ostId(needed) };
  await servers.kill(`ost-${stray}`);
  await servers.kill('mds');
  const rebuild = (dir: string, ...more: string[]) => rawstor('mds', 'rebuild', '--dir', dir, ...more);

  const fresh = await rebuild('new');
  expect(fresh.code).toBe(69);
  expect(fresh.stderr).toMatch(
    new RegExp(
      `one OST did not answer.*OST ${ids.stray} at tcp://.*last heard of .* min ago.*nothing found refers to it`,
    ),
  );
  expect(fresh.stderr).toContain(`--without ${ids.stray}`);
  expect(existsSync(join(cwd, 'new'))).toBe(false);
  const slip = await rebuild('new', '--without', 'abcdef');
  expect(slip).toMatchObject({ code: 64, stderr: expect.stringContaining(`'abcdef' is no OST`) });
  const { stdout } = await done(rebuild('new', '--without', ids.stray.slice(-8), '--output', 'json'));
  expect(JSON.parse(stdout)).toMatchObject([{ name: 'v', fate: 'restored', back: true }]);

  // As if it had been away for two days.
  await servers.kill('mgs');
  const file = join(cwd, 'mgs/servers.json');
  const remembered = JSON.parse(readFileSync(file, 'utf8'));
  for (const server of remembered.servers) {
    if (server.info.id === ids.stray) server.lastSeenWallMs -= 2 * 24 * 3_600_000;
  }
  writeFileSync(file, JSON.stringify(remembered));
  await servers.serve('mgs', '--listen', `${host}:7770`, '--http-listen', `${host}:7772`);
  const old = await done(rebuild('old'));
  expect(old.stderr).toMatch(new RegExp(`warning: OST ${ids.stray} .*2 days ago.*passed over`));

  // One that a volume needs is never passed over.
  await servers.kill(`ost-${needed}`);
  const refused = await rebuild('never');
  expect(refused.code).toBe(69);
  expect(refused.stderr).toMatch(new RegExp(`one OST did not answer.*OST ${ids.needed}`));
  const without = await done(rebuild('without', '--without', ids.needed, '--output', 'json'));
  expect(JSON.parse(without.stdout)).toMatchObject([{ name: 'v', fate: 'loss', back: true }]);
}, 120_000);

it('an OST that was started on an empty directory, at the address of another, is not taken for it', async () => {
  const moved = servers.ostId(1);
  await done(volume('create', 'v', '--size', '64M', '--replicas', '1', '--near', 'h1'));
  const { members } = JSON.parse((await done(volume('info', 'v', '--output', 'json'))).stdout);
  expect(members).toMatchObject([{ ostId: moved }]);
  await servers.kill('ost-1');
  renameSync(join(cwd, 'ost-1'), join(cwd, 'ost-1.unmounted'));
  await servers.serveOst(1);
  await until(async () => (await servers.osts()).length === 4);
  // As to what it has, nobody else answers for it.
  expect((await volume('du', 'v')).stderr).toContain(`answers there, not OST ${moved}`);
  await servers.kill('mds');

  const refused = await rawstor('mds', 'rebuild', '--dir', 'new');
  expect(refused.code).toBe(69);
  expect(refused.stderr).toMatch(new RegExp(`one OST did not answer.*OST ${moved}`));
  expect(refused.stderr).toContain(`OST ${servers.ostId(1)} answers there`);
  expect(existsSync(join(cwd, 'new'))).toBe(false);
  await done(rawstor('mds', 'rebuild', '--dir', 'new', '--without', moved));

  await servers.kill('ost-1');
  renameSync(join(cwd, 'ost-1'), join(cwd, 'ost-1.empty'));
  renameSync(join(cwd, 'ost-1.unmounted'), join(cwd, 'ost-1'));
  await servers.serveOst(1);
  const { stdout } = await rawstor('mds', 'rebuild', '--dir', 'whole', '--output', 'json', '--allow-missing');
  expect(JSON.parse(stdout)).toMatchObject([{ name: 'v', fate: 'restored', back: true }]);
}, 120_000);
