import { randomBytes } from 'node:crypto';
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { MiB } from '../../../src/common/units.js';
import { isAlive, UpCluster, until } from './programs.js';

/** Draining, replacing and removing OSTs by command, on a cluster of real processes. */

const MINUTES = 60_000;
let up: UpCluster;
const image = randomBytes(12 * MiB);

beforeAll(async () => {
  up = await UpCluster.start(['--osts', '3']);
  writeFileSync(join(up.cwd, 'image'), image);
  expect((await up.volume('import', 'image', 'two')).code).toBe(0);
}, 2 * MINUTES);
afterAll(() => up.remove(), MINUTES);

const json = async (...args: string[]) => {
  const { code, stdout, stderr } = await up.rawstor(...args, '--output', 'json');
  return { code, stderr, value: stdout === '' ? null : JSON.parse(stdout) };
};
const volume = async (name: string) => {
  const { stdout } = await up.volume('info', name, '--output', 'json');
  return JSON.parse(stdout) as {
    health: string;
    map: { pool: { ostId: string }[] };
    members: { state: string }[];
    lossWallMs: number | null;
  };
};
const poolOf = async (name: string) => (await volume(name)).map.pool.map(({ ostId }) => ostId);
const osts = async () =>
  (await json('ost', 'ls')).value as { ostId: string; alive: boolean; addresses: string[] }[];

async function expectImage(name: string, content: Buffer): Promise<void> {
  const out = join(up.cwd, 'out');
  expect((await up.volume('export', name, out, '--force')).code).toBe(0);
  expect(readFileSync(out).subarray(0, content.length).equals(content)).toBe(true);
}

/** Which process serves an OST, by the identity in its directory. */
function processOf(ostId: string): string {
  const names = readdirSync(up.facts.dir).filter((name) => name.startsWith('ost-'));
  const read = (name: string) => readFileSync(join(up.facts.dir, name, 'rawstor-ost.json'), 'utf8');
  return names.find((name) => read(name).includes(ostId))!;
}

/** Its directory is gone, and the process with it; it comes back as a new OST. @returns the new one's id */
async function loseDisk(ostId: string): Promise<string> {
  const before = await osts();
  const name = processOf(ostId);
  // The lock says which process has the directory.
  const pid = Number(/\d+/.exec(readFileSync(join(up.facts.dir, name, 'lock'), 'utf8'))![0]);
  rmSync(join(up.facts.dir, name), { recursive: true, force: true });
  process.kill(pid, 'SIGKILL');
  await until(() => !isAlive(pid));
  const isNew = (other: { ostId: string; alive: boolean }) =>
    other.alive && !before.some((known) => known.ostId === other.ostId);
  await until(async () => (await osts()).some(isNew));
  await until(async () => (await osts()).find((other) => other.ostId === ostId)?.alive === false);
  return (await osts()).find(isNew)!.ostId;
}

test(
  'an OST is drained, then removed, and not let in again',
  async () => {
    const [from, stays] = await poolOf('two');
    const to = (await osts()).map(({ ostId }) => ostId).find((id) => id !== from && id !== stays)!;
    const refused = await up.rawstor('ost', 'rm', from!);
    expect(refused.code).toBe(75);
    expect(refused.stderr).toContain('still has copies');
    const planned = await json('ost', 'drain', from!, '--dry-run');
    expect(planned.value).toContainEqual(expect.objectContaining({ volume: 'two', to, state: 'to move' }));
    expect(await poolOf('two')).toEqual([from, stays]);
    const drained = await json('ost', 'drain', from!.slice(-12), '--rate', '100M');
    expect(drained.code, drained.stderr).toBe(0);
    expect(drained.value).toContainEqual(expect.objectContaining({ volume: 'two', to, state: 'moved' }));
    expect((await poolOf('two')).sort()).toEqual([stays, to].sort());
    await expectImage('two', image);
    expect((await up.rawstor('ost', 'rm', from!)).code).toBe(0);
    expect((await osts()).map(({ ostId }) => ostId)).not.toContain(from);
    const log = () => readFileSync(join(up.facts.dir, 'logs', `${processOf(from!)}.log`), 'utf8');
    await until(() => log().includes('was removed from this cluster'));
    expect(await osts()).toHaveLength(2);
    // Two are left for two copies: there is no place for a third.
    const full = await json('ost', 'drain', stays!, '--dry-run');
    expect(full.code).toBe(73);
    expect(full.value[0]).toMatchObject({ state: 'not possible' });
  },
  3 * MINUTES,
);

test(
  'an OST that lost its disk is replaced by the new one in its place',
  async () => {
    const [gone, stays] = await poolOf('two');
    const alive = await up.rawstor('ost', 'rm', gone!, '--lost');
    expect(alive.code).toBe(75);
    expect(alive.stderr).toContain('is alive');
    const fresh = await loseDisk(gone!);
    const replaced = await json('ost', 'rm', gone!, '--lost');
    expect(replaced.code, replaced.stderr).toBe(0);
    expect((await poolOf('two')).sort()).toEqual([stays, fresh].sort());
    expect(await volume('two')).toMatchObject({ health: 'ok', lossWallMs: null });
    expect((await osts()).map(({ ostId }) => ostId)).not.toContain(gone);
    await expectImage('two', image);
  },
  3 * MINUTES,
);

test(
  'what was on a lost OST alone is listed, and given up only when that is said',
  async () => {
    expect((await up.volume('create', 'one', '--size', '16M', '--replicas', '1')).code).toBe(0);
    expect((await up.volume('import', 'image', 'one', '--force')).code).toBe(0);
    const [only] = await poolOf('one');
    const fresh = await loseDisk(only!);
    const refused = await json('ost', 'rm', only!, '--lost');
    expect(refused.code).toBe(77);
    expect(refused.value).toEqual([expect.objectContaining({ volume: 'one', onlyCopy: true })]);
    expect(refused.stderr).toContain('--allow-data-loss');
    expect(await poolOf('one')).toEqual([only]);
    const given = await json('ost', 'rm', only!, '--lost', '--allow-data-loss');
    expect(given.code, given.stderr).toBe(0);
    expect(await volume('one')).toMatchObject({ health: 'loss' });
    expect(await poolOf('one')).not.toContain(only);
    expect((await osts()).map(({ ostId }) => ostId)).toContain(fresh);
    await expectImage('one', Buffer.alloc(16 * MiB));
    // The other volume had its second copy elsewhere.
    expect(await volume('two')).toMatchObject({ lossWallMs: null });
    await expectImage('two', image);
  },
  3 * MINUTES,
);
