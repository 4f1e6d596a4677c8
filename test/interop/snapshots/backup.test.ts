import { createHash } from 'node:crypto';
import {
  copyFileSync,
  openSync,
  readFileSync,
  readSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { goData, RawNbd, request, string32, u32 } from '../../fixtures/nbd-client.js';
import { ok } from '../cli/outcome.js';
import { begin, type Outcome, programArgs, UpCluster, until } from '../cli/programs.js';

/** Incremental backups: by dirty bitmaps over NBD with the tools that people use, and by difference streams to another cluster. */

const MiB = 1024 * 1024;
const SIZE = 64 * MiB;
let here: UpCluster;
let there: UpCluster;

beforeAll(async () => {
  here = await UpCluster.start(['--osts', '2', '--volume', 'vm1:64M']);
  there = await UpCluster.start(['--osts', '2']);
}, 120_000);

afterAll(async () => {
  await here?.remove();
  await there?.remove();
});

interface DirtyRun {
  offset: number;
  length: number;
  type: number;
}

const json = (outcome: Outcome) => JSON.parse(ok(outcome));
const sha256 = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex');
const sha256Of = (path: string) => sha256(readFileSync(path));
const file = (name: string) => join(here.cwd, name);

async function io(cluster: UpCluster, name: string, ...commands: string[]): Promise<void> {
  const options = commands.flatMap((command) => ['-c', command]);
  const { stdout, stderr } = await execa('qemu-io', ['-f', 'raw', ...options, cluster.uriOf(name)]);
  expect(stdout + stderr).not.toMatch(/failed|error/i);
}

/** What a snapshot reads as, whole. */
async function contentOf(cluster: UpCluster, name: string): Promise<string> {
  const path = file(`content-${name.replace('@', '-')}.raw`);
  await execa('nbdcopy', [cluster.uriOf(name), path]);
  return path;
}

async function dirtyRuns(name: string, context: string): Promise<DirtyRun[]> {
  const { stdout } = await execa('nbdinfo', ['--json', `--map=${context}`, here.uriOf(name)]);
  return JSON.parse(stdout) as DirtyRun[];
}

/** QEMU shows a dirty bitmap as a map in which what is dirty is no data. */
async function qemuDirtyRuns(name: string, since: string): Promise<[number, number][]> {
  const options = [
    'driver=nbd',
    `export=${name}`,
    'server.type=unix',
    `server.path=${here.facts.dir}/nbd.sock`,
    `x-dirty-bitmap=qemu:dirty-bitmap:${since}`,
  ];
  const args = ['map', '--output=json', '--image-opts', options.join(',')];
  const runs = JSON.parse((await execa('qemu-img', args)).stdout) as {
    start: number;
    length: number;
    data: boolean;
  }[];
  return runs.filter((run) => !run.data).map((run) => [run.start, run.start + run.length]);
}

function joined(runs: [number, number][]): [number, number][] {
  const made: [number, number][] = [];
  for (const [from, until] of runs) {
    const last = made.at(-1);
    if (last?.[1] === from) last[1] = until;
    else made.push([from, until]);
  }
  return made;
}

/** A guest that goes on writing a part of the volume: where, and what, is its own business. */
function busyGuest() {
  const child = execa('qemu-io', ['-f', 'raw', here.uriOf('vm1')], { reject: false });
  let turn = 0;
  const timer = setInterval(() => {
    turn++;
    const at = 48 + ((turn * 7) % 15);
    child.stdin!.write(`write -P ${1 + (turn % 250)} ${at}M ${4 + (turn % 60)}k\n`);
    if (turn % 9 === 0) child.stdin!.write(`discard ${at}M 16k\n`);
    if (turn % 5 === 0) child.stdin!.write('flush\n');
  }, 5);
  return async () => {
    clearInterval(timer);
    child.stdin!.end('flush\nquit\n');
    const { stdout, stderr } = await child;
    expect(stdout + stderr).not.toMatch(/failed|error/i);
  };
}

const CHANGES = [
  ['write -P 11 0 1M', 'write -P 12 5000k 4k', 'write -z 2M 64k', 'discard 1M 512k'],
  ['write -P 21 512k 128k', 'write -P 0 4M 8k', 'write -z -u 12M 1M', 'write -P 22 33000k 512'],
  ['discard 0 64k', 'write -P 31 40M 300k', 'write -P 32 2M 4k', 'write -P 33 1234k 1k'],
];

describe('incremental backups', () => {
  it('by dirty bitmaps and by difference streams are the volume at each point, while it is written', async () => {
    await io(here, 'vm1', 'write -P 1 0 8M', 'write -P 2 12M 2M', 'write -P 3 32M 1M', 'write -P 4 48M 4M');
    ok(await here.volume('snapshot', 'vm1@s0'));
    ok(await here.volume('export', 'vm1@s0', file('full.raw')));
    copyFileSync(file('full.raw'), file('backup.raw'));
    ok(await there.volume('import', file('full.raw'), 'copy'));
    ok(await there.volume('snapshot', 'copy@s0'));
    const stop = busyGuest();
    for (const [i, changes] of CHANGES.entries()) {
      const [before, now] = [`s${i}`, `s${i + 1}`];
      await io(here, 'vm1', ...changes);
      await new Promise((resolve) => setTimeout(resolve, 300));
      ok(await here.volume('snapshot', `vm1@${now}`));
      const truth = await contentOf(here, `vm1@${now}`);
      await followBitmap(before, now, truth);
      await followStream(before, now);
      expect(sha256Of(await contentOf(there, `copy@${now}`)), now).toBe(sha256Of(truth));
      expect(sha256Of(await contentOf(there, 'copy')), now).toBe(sha256Of(truth));
    }
    await stop();
    // All at once, to the first.
    ok(await there.volume('import', file('full.raw'), 'second'));
    ok(await there.volume('snapshot', 'second@s0'));
    ok(await here.volume('export', 'vm1@s3', '--since', 's0', file('all.diff')));
    ok(await there.volume('import', '--apply', file('all.diff'), 'second'));
    expect(sha256Of(await contentOf(there, 'second'))).toBe(sha256Of(file('content-vm1-s3.raw')));
  }, 300_000);

  async function followBitmap(before: string, now: string, truth: string): Promise<void> {
    const runs = await dirtyRuns(`vm1@${now}`, `qemu:dirty-bitmap:${before}`);
    const dirty = runs.filter((run) => run.type === 1);
    const backup = openSync(file('backup.raw'), 'r+');
    const from = openSync(truth, 'r');
    for (const { offset, length } of dirty) {
      const bytes = Buffer.alloc(length);
      readSync(from, bytes, 0, length, offset);
      writeSync(backup, bytes, 0, length, offset);
    }
    expect(sha256Of(file('backup.raw')), now).toBe(sha256Of(truth));
    // Exact: far less than the volume.
    expect(dirty.reduce((sum, run) => sum + run.length, 0)).toBeLessThan(24 * MiB);
    const ranges = joined(dirty.map(({ offset, length }) => [offset, offset + length]));
    expect(joined(await qemuDirtyRuns(`vm1@${now}`, before))).toEqual(ranges);
  }

  /** Through a pipe from one cluster to the other, but for the last one. */
  async function followStream(before: string, now: string): Promise<void> {
    if (now === 's3') {
      const made = json(
        await here.volume('export', `vm1@${now}`, '--since', before, file('s3.diff'), '--output', 'json'),
      );
      expect(made).toMatchObject({ name: 'vm1@s3', since: 's2', format: 'difference' });
      expect(made.dataBytes).toBeGreaterThan(300 * 1024);
      const applied = json(
        await there.volume('import', '--apply', file('s3.diff'), 'copy', '--output', 'json'),
      );
      expect(applied).toMatchObject({ name: 'copy', from: { name: 's2' }, to: { name: 's3' }, keptAs: null });
      expect(applied.dataBytes).toBe(made.dataBytes);
      return;
    }
    const node = [process.execPath, ...programArgs('cli/rawstor-volume')].map((arg) => `'${arg}'`).join(' ');
    const make = `cd ${here.cwd} && ${node} export vm1@${now} - --since ${before}`;
    const apply = `cd ${there.cwd} && ${node} import --apply - copy`;
    const { RAWSTOR_LOCATION: _, ...env } = process.env;
    await execa('bash', ['-o', 'pipefail', '-c', `(${make}) | (${apply})`], { env, extendEnv: false });
  }

  it('contexts are listed, tell of depth, and of the head while it is written', async () => {
    const list = await execa('nbdinfo', ['--json', here.uriOf('vm1@s2')]);
    expect(JSON.parse(list.stdout).exports[0].contexts).toEqual([
      'base:allocation',
      'qemu:allocation-depth',
      'qemu:dirty-bitmap:s0',
      'qemu:dirty-bitmap:s1',
    ]);
    await io(here, 'vm1', 'write -P 9 20M 4k', 'flush');
    const dirty = (await dirtyRuns('vm1', 'qemu:dirty-bitmap:s3')).filter((run) => run.type === 1);
    expect(dirty.some((run) => run.offset <= 20 * MiB && run.offset + run.length > 20 * MiB)).toBe(true);
    const depth = await dirtyRuns('vm1', 'qemu:allocation-depth');
    const at = (offset: number) =>
      depth.find((run) => run.offset <= offset && offset < run.offset + run.length)!.type;
    expect([at(20 * MiB), at(40 * MiB), at(32 * MiB), at(16 * MiB)]).toEqual([1, 2, 5, 0]);
    // Discarded: a hole that hides something is the layer's own.
    expect(at(0)).toBe(2);
  }, 60_000);

  it('the context of a snapshot that is removed fails, and nothing else does', async () => {
    ok(await here.volume('snapshot', 'vm1@gone'));
    const client = await RawNbd.connect(`unix:${here.facts.dir}/nbd.sock`);
    await client.greet();
    await client.option(8);
    const queries = ['base:allocation', 'qemu:dirty-bitmap:gone'];
    const data = Buffer.concat([string32('vm1'), u32(queries.length), ...queries.map(string32)]);
    expect(await client.option(10, data)).toHaveLength(3);
    await client.option(7, goData('vm1'));
    client.send(request(7, 0, MiB));
    const told = [await client.chunk(), await client.chunk()];
    expect(told.map((chunk) => [chunk.type, chunk.flags])).toEqual([
      [5, 0],
      [5, 1],
    ]);
    expect(told[1]!.payload.readUInt32BE(8)).toBe(0);
    ok(await here.volume('snapshot', 'rm', 'vm1@gone', '--force'));
    client.send(request(7, 0, MiB));
    const failed = await client.chunk();
    expect(failed.type).toBe(0x8001);
    expect(failed.payload.readUInt32BE(0)).toBe(22);
    expect(failed.payload.toString()).toContain('the snapshot is gone');
    client.send(request(0, 0, 512));
    expect((await client.chunk()).type).toBe(1);
    client.destroy();
  }, 60_000);
});

describe('a difference', () => {
  it('makes the volume smaller, and larger', async () => {
    ok(await here.volume('create', 'vm2', '--size', '32M'));
    ok(await there.volume('create', 'copy2', '--size', '32M'));
    await io(here, 'vm2', 'write -P 1 0 32M');
    ok(await here.volume('export', 'vm2', file('vm2.raw')));
    ok(await there.volume('import', file('vm2.raw'), 'copy2', '--force'));
    for (const [cluster, name] of [
      [here, 'vm2'],
      [there, 'copy2'],
    ] as const) {
      ok(await cluster.volume('snapshot', `${name}@a`));
    }
    const follow = async (since: string, now: string) => {
      ok(await here.volume('snapshot', `vm2@${now}`));
      const stream = file(`vm2-${now}.diff`);
      ok(await here.volume('export', `vm2@${now}`, '--since', since, stream));
      ok(await there.volume('import', '--apply', stream, 'copy2'));
      expect(sha256Of(await contentOf(there, `copy2@${now}`))).toBe(
        sha256Of(await contentOf(here, `vm2@${now}`)),
      );
    };
    ok(await here.volume('resize', 'vm2', '20M', '--shrink', '--force'));
    await io(here, 'vm2', 'write -P 2 19M 1M');
    await follow('a', 'b');
    expect(json(await there.volume('info', 'copy2', '--output', 'json')).sizeBytes).toBe(20 * MiB);
    ok(await here.volume('resize', 'vm2', '40M'));
    await io(here, 'vm2', 'write -P 3 36M 1M');
    await follow('b', 'c');
  }, 120_000);

  const snapshots = async (name: string): Promise<string[]> =>
    json(await there.volume('snapshot', 'ls', name, '--output', 'json')).map(
      (one: { name: string }) => one.name,
    );

  it('is asked for of two snapshots of one line', async () => {
    expect(await here.volume('export', 'vm1', '--since', 's1', file('x'))).toMatchObject({ code: 64 });
    expect(await here.volume('export', 'vm1@s2', '--since', 'none', file('x'))).toMatchObject({ code: 66 });
    const younger = await here.volume('export', 'vm1@s1', '--since', 's2', file('x'));
    expect(younger).toMatchObject({ code: 64 });
    expect(younger.stderr).toContain('none of those that lie below');
  }, 60_000);

  it('is not applied to what is not where it begins', async () => {
    const again = await there.volume('import', '--apply', file('s3.diff'), 'copy');
    expect(again).toMatchObject({ code: 73 });
    expect(again.stderr).toContain('applied already');
    ok(await there.volume('import', file('full.raw'), 'third'));
    expect(await there.volume('import', '--apply', file('s3.diff'), 'third')).toMatchObject({ code: 66 });
    ok(await there.volume('snapshot', 'third@s0'));
    await io(there, 'third', 'write -P 99 30M 4k');
    const moved = await there.volume('import', '--apply', file('all.diff'), 'third');
    expect(moved).toMatchObject({ code: 75 });
    expect(moved.stderr).toContain('changed since');
    const forced = json(
      await there.volume('import', '--apply', file('all.diff'), 'third', '--force', '--output', 'json'),
    );
    expect(forced.keptAs).toMatch(/^before-rollback-/);
    expect(sha256Of(await contentOf(there, 'third'))).toBe(sha256Of(file('content-vm1-s3.raw')));
    expect(await snapshots('third')).toEqual(['s0', forced.keptAs, 's3']);
    // A snapshot of that name is not enough when it is known to be another one.
    ok(await here.volume('snapshot', 'vm1@t1'));
    ok(await here.volume('export', 'vm1@t1', '--since', 's3', file('t1.diff')));
    ok(await there.volume('snapshot', 'rename', 'third@s3', 's9'));
    ok(await there.volume('import', '--apply', file('t1.diff'), 'third'));
    expect(await snapshots('third')).toEqual(['s0', forced.keptAs, 's9', 't1']);
    ok(await here.volume('export', 'vm1@s1', '--since', 's0', file('s1.diff')));
    ok(await there.volume('import', file('full.raw'), 'other'));
    ok(await there.volume('snapshot', 'other@s0'));
    ok(await there.volume('import', '--apply', file('s1.diff'), 'other'));
    ok(await there.volume('snapshot', 'rename', 'other@s1', 's3'));
    const another = await there.volume('import', '--apply', file('t1.diff'), 'other');
    expect(another).toMatchObject({ code: 64 });
    expect(another.stderr).toContain('another one than where the difference begins');
  }, 120_000);

  it('that is damaged or cut short changes nothing', async () => {
    ok(await there.volume('import', file('full.raw'), 'fourth'));
    ok(await there.volume('snapshot', 'fourth@s0'));
    const whole = readFileSync(file('all.diff'));
    writeFileSync(file('bad.diff'), whole);
    truncateSync(file('bad.diff'), whole.length - 40);
    const cut = await there.volume('import', '--apply', file('bad.diff'), 'fourth');
    expect(cut).toMatchObject({ code: 65 });
    expect(cut.stderr).toMatch(/ends too early.*bad\.diff: record \d+, byte \d+/);
    const damaged = Buffer.from(whole);
    damaged[whole.length - 100_000]! ^= 1;
    writeFileSync(file('bad.diff'), damaged);
    const node = [process.execPath, ...programArgs('cli/rawstor-volume')].map((arg) => `'${arg}'`).join(' ');
    const command = `cd ${there.cwd} && ${node} import --apply - fourth < ${file('bad.diff')}`;
    const { RAWSTOR_LOCATION: _, ...env } = process.env;
    const piped = await execa('bash', ['-c', command], { reject: false, env, extendEnv: false });
    expect(piped.exitCode).toBe(65);
    expect(piped.stderr).toMatch(/damaged.*standard input: record \d+, byte \d+/);
    expect(piped.stderr).toContain('fourth is what it was at @s0 again');
    expect(await snapshots('fourth')).toEqual(['s0']);
    expect(sha256Of(await contentOf(there, 'fourth'))).toBe(sha256Of(file('full.raw')));
  }, 120_000);

  it('whose import is killed is applied by the next one', async () => {
    const args = ['import', '--apply', file('all.diff'), 'fourth', '--rate', '512K'];
    const child = begin('cli/rawstor-volume', args, { cwd: there.cwd });
    await until(async () => (await snapshots('fourth')).includes('applying-s3'));
    await new Promise((resolve) => setTimeout(resolve, 1000));
    child.kill('SIGKILL');
    await child;
    expect(sha256Of(await contentOf(there, 'fourth@s0'))).toBe(sha256Of(file('full.raw')));
    let again: Outcome | null = null;
    await until(async () => {
      // The lease of who was killed runs out.
      again = await there.volume('import', '--apply', file('all.diff'), 'fourth');
      return again.code !== 75;
    });
    ok(again!);
    expect(again!.stderr).toContain('taken back');
    expect(await snapshots('fourth')).toEqual(['s0', 's3']);
    expect(sha256Of(await contentOf(there, 'fourth'))).toBe(sha256Of(file('content-vm1-s3.raw')));
    expect(SIZE).toBe(json(await there.volume('info', 'fourth', '--output', 'json')).sizeBytes);
  }, 120_000);
});
