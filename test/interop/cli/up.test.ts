import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterEach, describe, expect, it } from 'vitest';
import { begin, isAlive, ownLoopback, run, temporaryDirectory, UpCluster, until } from './programs.js';

const MINUTES = 60_000;
const clusters: UpCluster[] = [];
const directories: string[] = [];

async function start(args: string[] = [], cwd?: string): Promise<UpCluster> {
  const cluster = await UpCluster.start(args, cwd);
  clusters.push(cluster);
  directories.push(cluster.cwd);
  return cluster;
}

afterEach(async () => {
  for (const cluster of clusters.splice(0)) await cluster.stop();
  for (const directory of directories.splice(0)) rmSync(directory, { recursive: true, force: true });
}, MINUTES);

describe('up', () => {
  it(
    'leaves nothing running when it is killed, and goes on with the data',
    async () => {
      const cluster = await start(['--osts', '2', '--volume', 'vm1:64M']);
      expect(cluster.facts.volumes).toEqual(['vm1']);
      const { pids } = cluster.facts;
      expect(Object.keys(pids).sort()).toEqual(['mds', 'mgs', 'nbd', 'ost-1', 'ost-2', 's3']);
      await execa('qemu-io', ['-f', 'raw', '-c', 'write -P 5 1M 64k', '-c', 'flush', cluster.uriOf('vm1')]);
      cluster.process.kill('SIGKILL');
      await until(() => Object.values(pids).every((pid) => !isAlive(pid)));
      const again = await start([], cluster.cwd);
      expect(again.facts.osts).toHaveLength(2);
      const read = await execa('qemu-io', ['-f', 'raw', '-c', 'read -P 5 1M 64k', again.uriOf('vm1')]);
      expect(read.stdout).not.toContain('verification failed');
      expect(await again.stop()).toBe(0);
      expect(Object.values(again.facts.pids).filter(isAlive)).toEqual([]);
      expect(existsSync(join(again.facts.dir, 'nbd.sock'))).toBe(false);
      const fewer = await run('cli/rawstor', ['up', '--osts', '1'], { cwd: cluster.cwd });
      expect(fewer.code).toBe(64);
      expect(fewer.stderr).toContain('--osts');
      const dead = await again.volume('ls');
      expect(dead.code).toBe(69);
      expect(dead.stderr).toContain(again.facts.mds.replace('tcp://', ''));
      expect(dead.stderr).toContain('rawstor serve mds');
    },
    4 * MINUTES,
  );

  it(
    'ends cleanly when its whole process group is told to, as a service manager does',
    async () => {
      const cluster = await start(['--osts', '2', '--volume', 'vm1:64M']);
      await execa('qemu-io', ['-f', 'raw', '-c', 'write -P 5 1M 64k', cluster.uriOf('vm1')]);
      const pids = Object.values(cluster.facts.pids);
      // All at once, as the kernel does it: nobody is ahead of the others.
      for (const pid of [...pids, cluster.process.pid!]) process.kill(pid, 'SIGTERM');
      expect((await cluster.process).exitCode).toBe(0);
      expect(pids.filter(isAlive)).toEqual([]);
      expect(cluster.said()).not.toContain('has ended');
      const log = readFileSync(join(cluster.facts.dir, 'logs/nbd.log'), 'utf8');
      expect(log).toContain('"stopped"');
      const again = await start([], cluster.cwd);
      expect((await again.volume('info', 'vm1')).stdout).toContain('closed cleanly');
    },
    4 * MINUTES,
  );

  it(
    'ends while it starts, with a server that does not answer',
    async () => {
      const cwd = temporaryDirectory();
      directories.push(cwd);
      const child = begin('cli/rawstor', ['up', '--osts', '1', '--no-volume', '--listen', ownLoopback()], {
        cwd,
      });
      let ost = 0;
      await until(() => {
        const all = readFileSync(`/proc/${child.pid}/task/${child.pid}/children`, 'utf8').trim().split(' ');
        ost = Number(
          all.find((pid) => readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('\0ost\0')) ?? 0,
        );
        return ost !== 0;
      });
      process.kill(ost, 'SIGSTOP');
      child.kill('SIGINT');
      const ended = await child;
      expect(ended.stderr).toContain('ost-1 does not end, killing it');
      expect(ended.exitCode).toBe(0);
      expect(isAlive(ost)).toBe(false);
    },
    4 * MINUTES,
  );

  it(
    'starts a server that ends again, and a guest goes on',
    async () => {
      const cluster = await start(['--osts', '2', '--volume', 'vm1:64M']);
      const uri = cluster.uriOf('vm1');
      for (const name of ['ost-1', 'mds', 'nbd', 'mgs']) {
        process.kill(cluster.facts.pids[name]!, 'SIGKILL');
        const back = new RegExp(`^rawstor: ${name} is back$`, 'm');
        await untilSaid(cluster, back);
        await execa('qemu-io', ['-f', 'raw', '-c', 'write -P 1 0 64k', '-c', 'flush', uri]);
      }
      await until(async () => (await cluster.rawstor('status')).code === 0);
    },
    4 * MINUTES,
  );

  it(
    'refuses a directory in use and ports in use',
    async () => {
      const cluster = await start(['--osts', '1', '--no-volume']);
      expect(cluster.facts.volumes).toEqual([]);
      const second = await run('cli/rawstor', ['up'], { cwd: cluster.cwd });
      expect(second.code).toBe(75);
      expect(second.stderr).toContain(`process ${cluster.process.pid}`);
      const host = ownLoopback();
      const other = createServer();
      await new Promise<void>((resolve) => other.listen({ host, port: 20_007 }, resolve));
      const cwd = temporaryDirectory();
      directories.push(cwd);
      const busy = await run('cli/rawstor', ['up', '--listen', host, '--port', '20000'], { cwd });
      other.close();
      expect(busy.code).toBe(75);
      expect(busy.stderr).toMatch(/port 20007 for ost-1 is in use[\s\S]*--port/);
      const one = await run('cli/rawstor-volume', ['create', 'x', '--size', '1G'], { cwd: cluster.cwd });
      expect(one.code).toBe(73);
      expect(one.stderr).toMatch(/2 replicas[\s\S]*1 OST/);
    },
    4 * MINUTES,
  );

  it(
    'finds other ports where the usual ones are taken, and keeps them',
    async () => {
      const host = ownLoopback();
      const other = createServer();
      await new Promise<void>((resolve) => other.listen({ host, port: 7777 }, resolve));
      const cluster = await start(['--osts', '1', '--no-volume', '--listen', host]);
      expect(cluster.facts.mds).toBe(`tcp://${host}:7771`);
      const [address] = cluster.facts.osts;
      expect(address).not.toBe(`tcp://${host}:7777`);
      await cluster.stop();
      other.close();
      const again = await start(['--listen', host, '--no-volume'], cluster.cwd);
      expect(again.facts.osts).toEqual([address]);
      const file = readFileSync(again.facts.location, 'utf8');
      expect(file).toContain(`mds = ["tcp://${host}:7771"]`);
    },
    4 * MINUTES,
  );

  it('takes no directory that holds something else, and leaves it as it was', async () => {
    const cwd = temporaryDirectory();
    directories.push(cwd);
    for (const file of ['cluster.toml', 'rawstor-ost.json', 'mine.txt']) {
      writeFileSync(join(cwd, file), 'mine');
      const outcome = await run('cli/rawstor', ['up', '--dir', '.'], { cwd });
      expect(outcome.code, outcome.stderr).toBe(78);
      expect(outcome.stderr).toMatch(/it holds other files[\s\S]*--dir/);
      expect(readdirSync(cwd)).toEqual([file]);
      expect(readFileSync(join(cwd, file), 'utf8')).toBe('mine');
      rmSync(join(cwd, file));
    }
  });

  it('says which option is wrong', async () => {
    const cwd = temporaryDirectory();
    directories.push(cwd);
    for (const [args, said] of [
      [['--osts', '0'], /--osts/],
      [['--listen', 'nowhere'], /--listen/],
      [['--listen', '192.0.2.1'], /--listen/],
      [['--volume', 'vm1'], /--volume/],
      [['--volume', 'vm1:1G:7'], /1 to 3/],
      [['--volume', 'vm1:1000'], /sectors.*--volume/],
      [['--volume', 'a/b:1G'], /not a volume name/],
      [['--port', '65530'], /port 65537.*--port/],
      [['--dir', `${cwd}/${'d'.repeat(100)}`], /too long[\s\S]*--dir/],
    ] as const) {
      const outcome = await run('cli/rawstor', ['up', ...args], { cwd });
      expect(outcome.code, outcome.stderr).toBe(64);
      expect(outcome.stderr).toMatch(said);
      expect(existsSync(join(cwd, '.rawstor', 'mds'))).toBe(false);
    }
  });
});

/** Waits for a line of prose; what was said before counts. */
async function untilSaid(cluster: UpCluster, pattern: RegExp): Promise<void> {
  await until(() => pattern.test(cluster.said()));
}
