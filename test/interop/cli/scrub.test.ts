import { closeSync, existsSync, openSync, readFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type Outcome, run, UpCluster, until } from './programs.js';

/** `rawstor scrub` on a cluster of processes, with bits flipped in its files. */

const BLOCK = 4096;
let cluster: UpCluster;

beforeAll(async () => {
  cluster = await UpCluster.start(['--volume', 'two:64M', '--volume', 'one:64M:1']);
  for (const name of ['two', 'one']) {
    const written = await cluster.volume('attach', name, '--run', qemuIo('write -P 0x5a 0 256k'));
    expect(written, written.stderr).toMatchObject({ code: 0 });
    // The gateway lets go some seconds after its last client, and seals then.
    await until(async () => (await sealed(name)) && (await scrub(name)).osts.every(isWhole));
  }
}, 120_000);

afterAll(async () => {
  await cluster?.remove();
});

interface Scrubbed {
  code: number;
  stderr: string;
  osts: {
    ostId: string;
    checkedBytes: number;
    badBlocks: number;
    damaged: { objectId: string; chunk: number; offset: number }[];
    unsealedRegions: number;
    failure: string;
  }[];
}

const qemuIo = (command: string) => `qemu-io -f raw -c '${command}' "$uri"`;
const isWhole = (ost: Scrubbed['osts'][number]) => ost.unsealedRegions === 0 && ost.checkedBytes > 0;

async function scrub(...args: string[]): Promise<Scrubbed> {
  const outcome = await rawstor('scrub', '--output', 'json', ...args);
  return { code: outcome.code, stderr: outcome.stderr, ...JSON.parse(outcome.stdout) };
}

function rawstor(...args: string[]): Promise<Outcome> {
  return run('cli/rawstor', args, { cwd: cluster.cwd });
}

async function info(name: string) {
  return JSON.parse((await cluster.volume('info', name, '--output', 'json')).stdout);
}

async function sealed(name: string): Promise<boolean> {
  const { clean, lastSeal } = await info(name);
  return clean && lastSeal > 0;
}

/** The first chunk's file of a volume on each OST that has one. */
async function files(name: string): Promise<string[]> {
  const { id } = await info(name);
  return [1, 2, 3]
    .map((ost) => join(cluster.facts.dir, `ost-${ost}`, 'chunks', id.slice(-2), id, '0.1'))
    .filter((file) => existsSync(file));
}

function damage(file: string, offset: number): void {
  const fd = openSync(file, 'r+');
  writeSync(fd, Buffer.from([0x5b]), 0, 1, offset);
  closeSync(fd);
}

const byteAt = (file: string, offset: number) => readFileSync(file)[offset];

it('repairs a volume that nobody uses', async () => {
  const [first, second] = (await files('two')) as [string, string];
  damage(first, 3 * BLOCK + 17);
  damage(second, 9 * BLOCK);
  const found = await scrub('two');
  expect(found, found.stderr).toMatchObject({ code: 0 });
  expect(found.osts.map((ost) => [ost.badBlocks, ost.damaged])).toEqual([
    [1, []],
    [1, []],
  ]);
  expect([byteAt(first, 3 * BLOCK + 17), byteAt(second, 9 * BLOCK)]).toEqual([0x5a, 0x5a]);
  // OSTs tell the MDS every two seconds.
  await until(async () => (await rawstor('status')).code === 0);
  const counts = { badBlocks: 0, foundTotal: 1, repairedTotal: 1 };
  expect((await info('two')).damage).toMatchObject([counts, counts]);
  const { servers } = JSON.parse((await rawstor('status', '--output', 'json')).stdout);
  expect(servers.filter((server: { damage?: object }) => server.damage !== undefined)).toHaveLength(3);
  await until(async () => (await rawstor('status')).stdout.split('0 bad, 1 of 1 repaired').length === 3);
  // Of the other volume on these OSTs nothing is counted.
  expect((await info('one')).damage).toMatchObject([{ badBlocks: 0, foundTotal: 0, repairedTotal: 0 }]);
}, 60_000);

it('has a volume that a gateway serves repaired by it', async () => {
  const [first] = (await files('two')) as [string];
  const guest = cluster.volume('attach', 'two', '--run', qemuIo('sleep 15000'));
  await until(async () => (await info('two')).lease !== null);
  damage(first, 5 * BLOCK);
  const found = await scrub('two');
  expect(found, found.stderr).toMatchObject({ code: 0 });
  expect(found.osts.reduce((sum, ost) => sum + ost.badBlocks, 0)).toBe(1);
  expect(byteAt(first, 5 * BLOCK)).toBe(0x5a);
  expect((await info('two')).lease).not.toBeNull();
  await guest;
}, 60_000);

it('says what no replica can repair, which a guest gets as EIO', async () => {
  const [file] = (await files('one')) as [string];
  const { id, members } = await info('one');
  damage(file, 7 * BLOCK + 1);
  const found = await scrub('--ost', members[0].ostId);
  expect(found.code).toBe(65);
  expect(found.osts).toHaveLength(1);
  expect((await info('one')).damage).toMatchObject([{ badBlocks: 1, foundTotal: 1, repairedTotal: 0 }]);
  expect(found.osts[0]!.damaged).toEqual([{ objectId: id, chunk: 0, chunkVersion: 1, offset: 7 * BLOCK }]);
  const read = await cluster.volume('attach', 'one', '--run', qemuIo('read 28k 512'));
  expect(read.stdout + read.stderr).toMatch(/Input\/output error/);
  await until(async () => (await rawstor('status')).code === 75);
  expect((await rawstor('status')).stdout).toContain(`1 damaged blocks on OST ${members[0].ostId}`);
  await cluster.volume('attach', 'one', '--run', qemuIo('write -P 0x5a 28k 4k'));
  expect((await scrub('one')).osts[0]!.damaged).toEqual([]);
}, 60_000);

it('a drain takes along what nobody can repair, and says what, where, in words', async () => {
  const [file] = (await files('one')) as [string];
  const { id, members } = await info('one');
  const [{ ostId: from }] = members;
  await until(async () => (await scrub('one')).osts.every(isWhole));
  damage(file, 11 * BLOCK + 5);
  const drained = await rawstor('ost', 'drain', from, '--output', 'json');
  expect(drained.code, drained.stderr).toBe(65);
  expect(drained.stderr).not.toMatch(/^\{/m);
  const row = JSON.parse(drained.stdout).find(({ volume }: { volume: string }) => volume === 'one');
  const place = { volume: 'one', id, offset: 11 * BLOCK, ostId: row.to };
  expect(row).toMatchObject({ state: 'moved', damaged: [place] });
  expect(row.detail).toContain(`4 KiB at ${11 * BLOCK} on OST ${row.to.slice(-12)}`);
  await until(
    async () => JSON.parse((await rawstor('status', '--output', 'json')).stdout).damaged.length > 0,
  );
  expect(JSON.parse((await rawstor('status', '--output', 'json')).stdout).damaged).toEqual([place]);
  expect((await rawstor('status')).stdout).toMatch(/DAMAGED VOLUME +AT +OST\none +45056/);
  const recovered = await rawstor('recover', 'one', '--output', 'json');
  expect(recovered.code).toBe(65);
  expect(JSON.parse(recovered.stdout)[0].detail).toContain(`4 KiB at ${11 * BLOCK}`);
  const read = await cluster.volume('attach', 'one', '--run', qemuIo('read 44k 4k'));
  expect(read.stdout + read.stderr).toMatch(/Input\/output error/);
  const rest = await cluster.volume('attach', 'one', '--run', qemuIo('read -P 0x5a 0 44k'));
  expect(rest.stdout + rest.stderr).not.toMatch(/verification failed|error/);
  await cluster.volume('attach', 'one', '--run', qemuIo('write -P 0x5a 44k 4k'));
  expect((await rawstor('recover', 'one')).code).toBe(0);
  await rawstor('ost', 'drain', from, '--cancel');
}, 60_000);

it('refuses what makes no sense', async () => {
  expect((await rawstor('scrub', 'nobody')).code).toBe(66);
  expect((await rawstor('scrub', '--ost', 'zzz')).code).toBe(66);
  expect((await rawstor('scrub', '--rate', '1K')).code).toBe(64);
});
