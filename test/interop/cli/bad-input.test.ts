import { closeSync, openSync, readFileSync, statSync, truncateSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Outcome, UpCluster, until } from './programs.js';

const MiB = 1024 * 1024;
const VOLUMES = ['busy', 'small'];
let cluster: UpCluster;
const path = (name: string) => join(cluster.cwd, name);

beforeAll(async () => {
  cluster = await UpCluster.start(['--osts', '2', ...VOLUMES.flatMap((name) => ['--volume', `${name}:16M`])]);
  writeFileSync(path('disk.raw'), Buffer.alloc(20 * MiB, 7));
  writeFileSync(path('empty.raw'), '');
  const convert = ['convert', '-O', 'qcow2', path('disk.raw')];
  await Promise.all(
    ['whole', 'half', 'head', 'header'].map((name) => execa('qemu-img', [...convert, path(`${name}.qcow2`)])),
  );
  truncateSync(path('half.qcow2'), Math.floor(statSync(path('half.qcow2')).size / 2));
  truncateSync(path('head.qcow2'), 300);
  const over = ['-b', 'disk.raw', '-F', 'raw'];
  await execa('qemu-img', ['create', '-f', 'qcow2', ...over, 'over.qcow2'], { cwd: cluster.cwd });
  // The size of a cluster, as a power of two.
  overwrite(path('header.qcow2'), 20, Buffer.alloc(4, 0xff));
}, 120_000);

afterAll(async () => {
  await cluster?.remove();
});

function overwrite(file: string, at: number, bytes: Buffer): void {
  const fd = openSync(file, 'r+');
  writeSync(fd, bytes, 0, bytes.length, at);
  closeSync(fd);
}

async function volumeNames(): Promise<string[]> {
  const { stdout } = await cluster.volume('ls', '--output', 'jsonl');
  return stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line).name);
}

async function refused(args: readonly string[], code: number, said: RegExp): Promise<Outcome> {
  const outcome = await cluster.volume(...args);
  expect(outcome.code, outcome.stderr).toBe(code);
  expect(outcome.stderr).toMatch(said);
  expect(outcome.stdout).toBe('');
  return outcome;
}

type Case = [name: string, args: string[], code: number, said: RegExp];

describe('a volume that cannot be created leaves nothing', () => {
  const sized = (size: string) => ['create', 'x', '--size', size];
  const named = (name: string) => ['create', name, '--size', '1G'];
  const cases: Case[] = [
    ['size of nothing', sized('0'), 64, /--size[\s\S]*512/],
    ['size below nothing', sized('-1'), 64, /'-1' is not a size \(--size\)[\s\S]*10G/],
    ['size that is empty', sized(''), 64, /'' is not a size/],
    ['size past whole numbers', sized('18446744073709551616'), 64, /larger than anything[\s\S]*4 PiB/],
    ['size past every volume', sized('5P'), 64, /5 PiB is too large \(--size\)[\s\S]*4 PiB/],
    ['size of too many chunks', [...sized('4P'), '--chunk-size', '1M'], 64, /at least 256 MiB/],
    ['chunks of nothing', [...sized('1G'), '--chunk-size', '0'], 64, /power of two from 1 MiB/],
    ['name that is empty', named(''), 64, /the argument 'name' is empty/],
    ['name with a space', named('a b'), 64, /'a b' is not a volume name[\s\S]*letters, digits/],
    ['name out of the tree', named('../x'), 64, /not a volume name/],
    ['name too long', named('a'.repeat(256)), 64, /at most 255/],
    ['more replicas than hosts', [...named('x'), '--replicas', '3'], 73, /3 replicas[\s\S]*2 hosts/],
  ];
  it.each(cases)('%s', async (_name, args, code, said) => {
    await refused(args, code, said);
  });

  it('and none is there', async () => {
    expect(await volumeNames()).toEqual(VOLUMES);
  });
});

describe('an image that cannot be imported leaves no volume', () => {
  const cases: Case[] = [
    ['raw and empty', ['empty.raw'], 65, /the image is empty \(empty\.raw\)/],
    ['qcow2 cut in half', ['half.qcow2'], 65, /cut short[\s\S]*half\.qcow2[\s\S]*qemu-img check/],
    ['qcow2 cut in its tables', ['head.qcow2'], 65, /cut short[\s\S]*head\.qcow2/],
    ['qcow2 with a damaged header', ['header.qcow2'], 65, /header\.qcow2[\s\S]*cluster size/],
    [
      'qcow2 over another file',
      ['over.qcow2'],
      77,
      /other files: "disk\.raw" \(over\.qcow2\)[\s\S]*--backing/,
    ],
    ['another format than it is', ['disk.raw', '--format', 'vdi'], 65, /disk\.raw/],
    ['larger than --size', ['whole.qcow2', '--size', '16M'], 64, /20971520[\s\S]*16777216/],
    ['on more hosts than there are', ['disk.raw', '--replicas', '3'], 73, /UNSATISFIABLE/],
  ];
  it.each(cases)('%s', async (_name, [file, ...options], code, said) => {
    await refused(['import', file!, 'x', ...options], code, said);
  });

  it('and none is there', async () => {
    expect(await volumeNames()).toEqual(VOLUMES);
  });

  it('larger than the volume that is there, which stays as it was', async () => {
    const uri = cluster.uriOf('small');
    await execa('qemu-io', ['-f', 'raw', '-c', 'write -P 5 0 64k', uri]);
    await refused(['import', 'disk.raw', 'small', '--force'], 64, /does not fit in 16777216 bytes \(small\)/);
    const read = await execa('qemu-io', ['-f', 'raw', '-c', 'read -P 5 0 64k', uri]);
    expect(read.stdout).not.toContain('verification failed');
  });

  it('but a whole one is taken', async () => {
    const made = await cluster.volume('import', 'whole.qcow2', 'whole');
    expect(made, made.stderr).toMatchObject({ code: 0 });
    expect((await cluster.volume('export', 'whole', 'whole.raw')).code).toBe(0);
    expect(readFileSync(path('whole.raw')).equals(readFileSync(path('disk.raw')))).toBe(true);
    expect((await cluster.volume('rm', 'whole', '--force')).code).toBe(0);
  });
});

describe('a volume that a guest has', () => {
  it('is neither written over, served elsewhere nor removed', async () => {
    const guest = execa('qemu-io', ['-f', 'raw', cluster.uriOf('busy')], { reject: false, stdin: 'pipe' });
    const leased = async () => {
      const { stdout } = await cluster.volume('info', 'busy', '--output', 'json');
      return JSON.parse(stdout).lease !== null;
    };
    try {
      await until(leased);
      const elsewhere = ['attach', 'busy', '--socket', path('own.sock'), '--run', 'true'];
      await refused(['import', 'empty.raw', 'busy', '--force'], 65, /empty/);
      await refused(['bench', 'busy', '--rw', 'write', '--force'], 75, /'busy'|busy/);
      await refused(elsewhere, 75, /busy/);
      await refused(['rm', 'busy'], 75, /busy/);
      expect(await leased()).toBe(true);
    } finally {
      guest.stdin!.end();
      await guest;
    }
  });
});

it('a client of an export that does not exist is told so', async () => {
  const info = await execa('nbdinfo', [cluster.uriOf('nope')], { reject: false });
  expect(info.exitCode).toBe(1);
  expect(info.stderr).toMatch(/No such file or directory[\s\S]*nope/);
  expect(await volumeNames()).toEqual(VOLUMES);
});
