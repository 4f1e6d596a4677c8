import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ok } from '../cli/outcome.js';
import { type Outcome, UpCluster, until } from '../cli/programs.js';

/** Snapshots and clones by the command line, and as exports, with the tools that people use. */

const MiB = 1024 * 1024;
let cluster: UpCluster;

beforeAll(async () => {
  cluster = await UpCluster.start(['--osts', '2', '--volume', 'vm1:64M', '--volume', 'vm2:64M']);
}, 120_000);

afterAll(async () => {
  await cluster?.remove();
});

const json = (outcome: Outcome) => JSON.parse(ok(outcome));
const volume = (...args: string[]) => cluster.volume(...args);
const io = async (name: string, ...commands: string[]) => {
  const options = commands.flatMap((command) => ['-c', command]);
  const reads = name.includes('@') ? ['-r'] : [];
  const { stdout } = await execa('qemu-io', ['-f', 'raw', ...reads, ...options, cluster.uriOf(name)]);
  expect(stdout).not.toContain('verification failed');
};

describe('snapshot', () => {
  it('takes, lists, renames, protects and removes', async () => {
    await io('vm1', 'write -P 1 0 1M');
    expect(json(await volume('snapshot', 'vm1@monday', '--output', 'json'))).toMatchObject({
      volume: 'vm1',
      name: 'monday',
      version: 1,
    });
    await io('vm1', 'write -P 2 0 64k');
    ok(await volume('snap', 'create', 'vm1@tuesday'));
    const names = json(await volume('snap', 'ls', 'vm1', '--output', 'json')).map(
      (row: { name: string }) => row.name,
    );
    expect(names).toEqual(['monday', 'tuesday']);
    expect(await volume('snapshot', 'vm1@monday')).toMatchObject({ code: 73 });
    expect(await volume('snapshot', 'vm1')).toMatchObject({ code: 64 });
    expect(await volume('snapshot', 'none@x')).toMatchObject({ code: 66 });
    ok(await volume('snap', 'rename', 'vm1@tuesday', 'wednesday'));
    ok(await volume('snap', 'protect', 'vm1@wednesday'));
    const refused = await volume('snap', 'rm', 'vm1@wednesday', '--force');
    expect(refused.code).toBe(75);
    expect(refused.stderr).toContain('unprotect');
    ok(await volume('snap', 'unprotect', 'vm1@wednesday'));
    expect(ok(await volume('info', 'vm1'))).toMatch(/^snapshots +2: @monday @wednesday$/m);
    expect(ok(await volume('ls'))).toMatch(/^vm1 +64 MiB +2 +ok +2/m);
    const [usage] = json(await volume('du', 'vm1', '--output', 'json'));
    expect(usage.versions).toMatchObject([{ name: 'monday' }, { name: 'wednesday' }, { head: true }]);
    expect(await volume('rm', 'vm1', '--force')).toMatchObject({ code: 75 });
    ok(await volume('snap', 'rm', 'vm1@wednesday', '--force'));
    await until(async () => json(await volume('info', 'vm1', '--output', 'json')).snapshots.length === 1);
    await io('vm1', 'read -P 2 0 64k', 'read -P 1 64k 960k');
  }, 120_000);

  it('is an export to read, while the volume is written', async () => {
    await io('vm1@monday', 'read -P 1 0 1M');
    const uri = cluster.uriOf('vm1@monday');
    const { stdout } = await execa('nbdinfo', ['--json', uri]);
    const [facts] = JSON.parse(stdout).exports;
    expect(facts).toMatchObject({ is_read_only: true, 'export-size': 64 * MiB });
    const list = await execa('nbdinfo', ['--list', `nbd+unix:///?socket=${cluster.facts.dir}/nbd.sock`]);
    expect(list.stdout).toContain('export="vm1@monday"');
    const copy = join(cluster.cwd, 'monday.raw');
    const copying = execa('nbdcopy', [uri, copy]);
    await io('vm1', 'write -P 3 0 2M');
    await copying;
    const bytes = readFileSync(copy);
    expect(bytes.length).toBe(64 * MiB);
    expect(bytes.subarray(0, MiB).every((byte) => byte === 1)).toBe(true);
    expect(bytes.subarray(MiB).every((byte) => byte === 0)).toBe(true);
    expect(ok(await volume('attach', 'vm1@monday')).trim()).toBe(uri);
    const image = join(cluster.cwd, 'monday.img');
    ok(await volume('export', 'vm1@monday', image));
    expect(readFileSync(image).equals(bytes)).toBe(true);
    expect(ok(await volume('attach', 'vm1@monday', '--foreground', '--run', 'nbdinfo --size "$uri"'))).toBe(
      `${64 * MiB}\n`,
    );
  }, 60_000);

  it('rolls back, with a snapshot of what was, and not under a guest', async () => {
    const guest = execa('qemu-io', ['-f', 'raw', cluster.uriOf('vm1')], { reject: false });
    guest.stdin!.write('write -P 4 0 64k\nflush\n');
    await until(async () => json(await volume('info', 'vm1', '--output', 'json')).lease !== null);
    const refused = await volume('snap', 'rollback', 'vm1@monday');
    expect(refused.code).toBe(75);
    expect(refused.stderr).toContain('guest');
    guest.stdin!.end('quit\n');
    await guest;
    const back = json(await volume('snap', 'rollback', 'vm1@monday', '--output', 'json'));
    expect(back.keptAs).toMatch(/^before-rollback-\d{8}T\d{6}Z$/);
    await io('vm1', 'read -P 1 0 1M', 'read -P 0 1M 1M');
    await io(`vm1@${back.keptAs}`, 'read -P 4 0 64k', 'read -P 3 64k 1M');
  }, 60_000);
});

describe('clone and flatten', () => {
  it('gives a volume at once, which is independent in the end', async () => {
    await io('vm2', 'write -P 5 0 4M');
    ok(await volume('snapshot', 'vm2@v1'));
    const made = json(await volume('clone', 'vm2@v1', 'web1', '--output', 'json'));
    expect(made).toMatchObject({ name: 'web1', parent: { name: 'vm2@v1' } });
    await io('web1', 'read -P 5 0 4M', 'write -P 6 0 1M');
    expect(json(await volume('children', 'vm2', '--output', 'json'))).toMatchObject([
      { name: 'web1', snapshot: 'v1' },
    ]);
    const refused = await volume('snap', 'rm', 'vm2@v1', '--force');
    expect(refused.stderr).toContain('web1');
    ok(await volume('flatten', 'web1'));
    ok(await volume('snap', 'rm', 'vm2@v1', '--force'));
    await until(async () => json(await volume('info', 'vm2', '--output', 'json')).snapshots.length === 0);
    await cluster.volume('detach', 'vm2');
    ok(await volume('rm', 'vm2', '--force'));
    await io('web1', 'read -P 6 0 1M', 'read -P 5 1M 3M');
  }, 120_000);
});

describe('resize', () => {
  it('changes the size under a client, which comes back to the new one', async () => {
    const options = [
      'driver=raw',
      'file.driver=nbd',
      'file.server.type=unix',
      `file.server.path=${cluster.facts.dir}/nbd.sock`,
      'file.export=vm1',
      'file.reconnect-delay=30',
    ];
    const guest = execa('qemu-io', ['--image-opts', options.join(',')], { reject: false });
    guest.stdin!.write('write -P 7 0 64k\nflush\n');
    await until(async () => json(await volume('info', 'vm1', '--output', 'json')).lease !== null);
    expect(await volume('resize', 'vm1', '32M')).toMatchObject({ code: 64 });
    expect(json(await volume('resize', 'vm1', '128M', '--output', 'json'))).toMatchObject({
      sizeBytes: 128 * MiB,
      before: 64 * MiB,
    });
    guest.stdin!.end('write -P 8 64k 64k\nflush\nread -P 7 0 64k\nquit\n');
    const { stdout, stderr } = await guest;
    expect(stdout + stderr).not.toMatch(/failed|error/i);
    await io('vm1', 'read -P 8 64k 64k', 'write -P 9 127M 1M');
    const { stdout: size } = await execa('nbdinfo', ['--size', cluster.uriOf('vm1')]);
    expect(Number(size)).toBe(128 * MiB);
    ok(await volume('resize', 'vm1', '64M', '--shrink', '--force'));
    ok(await volume('resize', 'vm1', '128M'));
    await io('vm1', 'read -P 0 127M 1M', 'read -P 8 64k 64k');
  }, 60_000);
});
