import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { programArgs, UpCluster, until } from './programs.js';

/** What a volume, a snapshot and a size may be in a command, and which commands ask first. */

const MiB = 1024 * 1024;
let cluster: UpCluster;
const volume = (...args: string[]) => cluster.volume(...args);

beforeAll(async () => {
  cluster = await UpCluster.start(['--osts', '1', '--volume', 'vm1:32M:1', '--volume', 'other:32M:1']);
  await execa('qemu-io', ['-f', 'raw', '-c', 'write -P 1 0 3M', cluster.uriOf('vm1')]);
  await done('snapshot', 'vm1@monday');
  await done('clone', 'vm1@monday', 'web1');
  await done('resize', 'vm1', '64M');
}, 120_000);

afterAll(async () => {
  await cluster?.remove();
});

async function done(...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await volume(...args);
  expect(code, stderr).toBe(0);
  return stdout;
}

const json = async (...args: string[]) => JSON.parse(await done(...args, '--output', 'json'));

async function refused(args: readonly string[], said: RegExp, code = 64): Promise<void> {
  const outcome = await volume(...args);
  expect(outcome.code, outcome.stderr).toBe(code);
  expect(outcome.stderr).toMatch(said);
  expect(outcome.stdout).toBe('');
}

describe('VOLUME@SNAPSHOT where a volume is wanted', () => {
  it('is told of by info, map and du', async () => {
    expect(await json('info', 'vm1@monday')).toMatchObject({
      name: 'vm1@monday',
      volume: 'vm1',
      sizeBytes: 32 * MiB,
      version: 1,
      protected: false,
      clones: ['web1'],
    });
    expect(await done('info', 'vm1@monday')).toMatch(/^size +32 MiB[\s\S]*^clones +web1$/m);
    expect(await json('map', 'vm1@monday')).toMatchObject([{ chunk: 0, offset: 0 }]);
    const [used] = await json('du', 'vm1@monday');
    expect(used).toMatchObject({ name: 'vm1@monday', sizeBytes: 32 * MiB, allocatedBytes: 3 * MiB });
    expect(used.versions).toMatchObject([{ version: 1, name: 'monday' }]);
    expect(used.osts).toMatchObject([{ allocatedBytes: 3 * MiB }]);
    await refused(['info', 'vm1@never'], /no snapshot 'vm1@never'[\s\S]*monday/, 66);
  });

  it('is closed by detach, and attached to be read only', async () => {
    const reader = execa('qemu-io', ['-r', '-f', 'raw', cluster.uriOf('vm1@monday')], { reject: false });
    reader.stdin!.write('read -P 1 0 1M\n');
    await until(async () => (await volume('detach', 'vm1@monday')).code === 75);
    expect(await json('detach', 'vm1@monday', '--force')).toMatchObject({
      name: 'vm1@monday',
      wasOpen: true,
    });
    reader.stdin!.end('quit\n');
    await reader;
    await refused(['attach', 'vm1@monday', '--force'], /only read/);
  });

  it.each([
    [['rm', 'vm1@monday'], /'vm1@monday' is a snapshot[\s\S]*snapshot rm vm1@monday/],
    [['rename', 'vm1@monday', 'x'], /is a snapshot[\s\S]*snapshot rename vm1@monday NAME/],
    [['resize', 'vm1@monday', '1G'], /is a snapshot[\s\S]*keeps the size/],
    [['flatten', 'vm1@monday'], /is a snapshot[\s\S]*by its own name/],
    [['bench', 'vm1@monday'], /is a snapshot[\s\S]*alone: vm1$/m],
    [['snapshot', 'ls', 'vm1@monday'], /is a snapshot[\s\S]*alone: vm1$/m],
    [['acknowledge-loss', 'vm1@monday'], /is a snapshot/],
  ])('%j', (args, said) => refused(args, said));
});

describe('the size of a resize', () => {
  it.each([
    ['0', /no size is not possible \(size\)[\s\S]*512/],
    ['0G', /no size is not possible/],
    ['1000', /not whole sectors of 512 \(size\)[\s\S]*1024/],
    ['5P', /too large[\s\S]*4 PiB/],
    ['1e30', /not a size/],
    ['10X', /'10X' is not a size/],
    ['-1', /'-1' is not a size|unknown option '-1'/],
  ])('is not %s', async (size, said) => {
    await refused(['resize', 'other', size], said);
    await refused(['resize', 'other', size, '--shrink', '--yes'], said);
  });
});

describe('before something is lost', () => {
  /** A command with a terminal of its own, and what is typed there. */
  async function typed(answer: string, ...args: string[]) {
    const command = [process.execPath, ...programArgs('cli/rawstor-volume'), ...args]
      .map((word) => `'${word}'`)
      .join(' ');
    const options = { cwd: cluster.cwd, reject: false, input: `${answer}\n` };
    const { exitCode, stdout } = await execa('script', ['-qec', command, '/dev/null'], options);
    return { exitCode, stdout };
  }
  const names = async () => ((await json('ls')) as { name: string }[]).map(({ name }) => name).sort();

  it('a person is asked, unless there was a yes', async () => {
    await done('create', 'gone', '--size', '2M', '--replicas', '1');
    await done('snapshot', 'gone@a');
    await done('snapshot', 'gone@b');
    const asking = [
      ['snapshot', 'rm', 'gone@a'],
      ['resize', 'gone', '1M', '--shrink'],
      ['snapshot', 'rollback', 'gone@b', '--no-safety'],
    ];
    for (const args of [...asking, ['rm', 'gone']]) {
      expect(await typed('n', ...args)).toMatchObject({
        exitCode: 77,
        stdout: expect.stringMatching(/\? .*\[y\/N\]|\?.*lost\. \[y\/N\]/),
      });
    }
    expect(await json('info', 'gone')).toMatchObject({ sizeBytes: 2 * MiB, headVersion: 3 });
    for (const args of asking) {
      const outcome = await typed('n', ...args, '--yes');
      expect(outcome, outcome.stdout).toMatchObject({ exitCode: 0 });
      expect(outcome.stdout).not.toContain('[y/N]');
    }
    await done('snapshot', 'rm', 'gone@b');
    await until(async () => (await json('info', 'gone')).snapshots.length === 0);
    expect(await typed('y', 'rm', 'gone')).toMatchObject({ exitCode: 0 });
    expect(await names()).not.toContain('gone');
  }, 120_000);

  it('a script is not asked for what its command says, but needs a yes for what it does not', async () => {
    await done('create', 'scripted', '--size', '2M', '--replicas', '1');
    await done('resize', 'scripted', '1M', '--shrink');
    await refused(['bench', 'scripted', '--rw', 'write', '--duration', '1s'], /no terminal[\s\S]*--yes/);
    await done('bench', 'scripted', '--rw', 'write', '--duration', '100ms', '--yes');
    await execa('qemu-img', ['create', '-f', 'raw', `${cluster.cwd}/image.raw`, '1M']);
    await refused(['import', 'image.raw', 'scripted'], /no terminal[\s\S]*--yes/);
    await done('import', 'image.raw', 'scripted', '--yes');
    await done('rm', 'scripted');
    expect(await names()).not.toContain('scripted');
  }, 60_000);

  it('a yes is no leave to take it from who uses it', async () => {
    const guest = execa('qemu-io', ['-f', 'raw', cluster.uriOf('other')], { reject: false, stdin: 'pipe' });
    try {
      await until(async () => (await json('info', 'other')).lease !== null);
      await refused(['rm', 'other', '--yes'], /other/, 75);
    } finally {
      guest.stdin!.end('quit\n');
      await guest;
    }
  });
});
