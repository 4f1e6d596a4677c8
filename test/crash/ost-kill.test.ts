import { closeSync, fstatSync, openSync, readdirSync, readFileSync, readSync } from 'node:fs';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterEach, describe, expect, it } from 'vitest';
import { MiB } from '../../src/common/units.js';
import { UpCluster, until } from '../interop/cli/programs.js';

/** `kill -9` of storage servers, one after another, under a load that checks every block it wrote. */

const MINUTES = 60_000;
const LONG = process.env.RAWSTOR_TEST_LONG === '1';
const LOAD_MIB = 128;
const ROUNDS = LONG ? 20 : 2;

interface Info {
  id: string;
  members: { ostId: string; state: string }[];
}

let up: UpCluster | null = null;

afterEach(async () => {
  await up?.remove();
  up = null;
}, MINUTES);

const info = async (cluster: UpCluster): Promise<Info> =>
  JSON.parse((await cluster.volume('info', 'vm1', '--output', 'json')).stdout);

async function whole(cluster: UpCluster): Promise<boolean> {
  return (await info(cluster)).members.every((member) => member.state === 'in-sync');
}

/** Which process of the cluster (`ost-1`...) serves an OST. */
function nameOf(cluster: UpCluster, ostId: string): string {
  const names = Object.keys(cluster.facts.pids).filter((name) => name.startsWith('ost-'));
  return names.find((name) => identity(cluster, name).includes(ostId))!;
}

const identity = (cluster: UpCluster, name: string) =>
  readFileSync(join(cluster.facts.dir, name, 'rawstor-ost.json'), 'utf8');

/** The present process of an OST: `up` has started another one after each kill. */
function pidOf(cluster: UpCluster, name: string): number {
  const dir = join(cluster.facts.dir, name);
  for (const pid of readdirSync('/proc').filter((entry) => /^\d+$/.test(entry))) {
    try {
      const parent = Number(readFileSync(`/proc/${pid}/stat`, 'latin1').split(') ').at(-1)!.split(' ')[1]);
      if (parent !== cluster.process.pid) continue;
      if (readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').includes(dir)) return Number(pid);
    } catch {
      // It has ended meanwhile.
    }
  }
  throw new Error(`no process serves ${dir}`);
}

const timesBack = (cluster: UpCluster, name: string) =>
  cluster.said().split(`rawstor: ${name} is back\n`).length - 1;

/** Writes all of its part of the volume in random order while it reads back what it wrote, then reads all of it. */
function verifyingLoad(cluster: UpCluster, seed: number) {
  const place = [`--uri=${cluster.uriOf('vm1')}`, `--size=${LOAD_MIB}M`, `--randseed=${seed}`];
  const load = ['--rw=randwrite', '--bsrange=4k-64k', '--iodepth=16', '--fsync=200'];
  const check = ['--verify=crc32c', '--verify_backlog=512', '--verify_fatal=1'];
  const args = ['--name=load', '--ioengine=nbd', '--thread', ...place, ...load, ...check];
  return execa('fio', args, { cwd: cluster.cwd, stdin: 'ignore', timeout: 5 * MINUTES });
}

/** Beyond what the load covers: written once while a server is away, so only its resync brings it there. */
async function pattern(cluster: UpCluster, verb: 'read' | 'write', slot: number): Promise<void> {
  const command = `${verb} -P ${slot + 1} ${LOAD_MIB + slot}M 1M`;
  const { stdout } = await execa('qemu-io', ['-f', 'raw', '-c', command, cluster.uriOf('vm1')]);
  expect(stdout).not.toContain('verification failed');
}

/**
 * Kills each member in turn, each when the one before is in sync again.
 * @param away whether it stays away until it is out of the set, or `up` starts it again at once
 * @returns the processes killed
 */
async function killMembersInTurn(cluster: UpCluster, away: boolean): Promise<string[]> {
  const killed: string[] = [];
  for (const { ostId } of (await info(cluster)).members) {
    const name = nameOf(cluster, ostId);
    const before = timesBack(cluster, name);
    const pid = pidOf(cluster, name);
    if (away) cluster.process.kill('SIGSTOP');
    try {
      process.kill(pid, 'SIGKILL');
      if (away) {
        await until(async () => !(await whole(cluster)));
        for (let slot = 0; slot < killed.length; slot++) await pattern(cluster, 'read', slot);
        await pattern(cluster, 'write', killed.length);
      }
    } finally {
      cluster.process.kill('SIGCONT');
    }
    await until(() => timesBack(cluster, name) > before);
    await until(() => whole(cluster));
    killed.push(name);
  }
  return killed;
}

/** Fails at the first MiB in which two chunk files differ; what one lacks at its end counts as zeros. */
function expectEqualBytes(first: string, second: string): void {
  const files = [first, second].map((path) => openSync(path, 'r'));
  const sizeBytes = Math.max(...files.map((file) => fstatSync(file).size));
  const buffers = files.map(() => Buffer.alloc(MiB));
  for (let at = 0; at < sizeBytes; at += MiB) {
    for (const [i, file] of files.entries()) {
      const count = readSync(file, buffers[i]!, 0, MiB, at);
      buffers[i]!.fill(0, count);
    }
    expect(buffers[0]!.equals(buffers[1]!), `${first} and ${second} at ${at}`).toBe(true);
  }
  for (const file of files) closeSync(file);
}

function chunkFiles(cluster: UpCluster, name: string, objectId: string): Map<string, string> {
  const chunks = join(cluster.facts.dir, name, 'chunks');
  const found = new Map<string, string>();
  for (const entry of readdirSync(chunks, { recursive: true, withFileTypes: true })) {
    if (entry.isFile() && entry.parentPath.endsWith(objectId)) {
      found.set(entry.name, join(entry.parentPath, entry.name));
    }
  }
  return found;
}

describe('storage servers that are killed', () => {
  for (const replicas of [2, 3]) {
    it(
      `cost a load on ${replicas} replicas no error and no wrong byte`,
      async () => {
        const cluster = await UpCluster.start(['--volume', `vm1:${LOAD_MIB + 16}M:${replicas}`]);
        up = cluster;
        const { id, members } = await info(cluster);
        const names = members.map((member) => nameOf(cluster, member.ostId));
        for (let round = 0; round < ROUNDS; round++) {
          let done = false;
          const kills = killMembersInTurn(cluster, round % 2 === 0).finally(() => {
            done = true;
          });
          let runs = 0;
          const load = async () => {
            while (!done) await verifyingLoad(cluster, round * 1000 + runs++);
          };
          const [killed] = await Promise.all([kills, load()]);
          expect(killed).toEqual(names);
          expect(runs).toBeGreaterThan(0);
        }
        await cluster.stop();
        const files = names.map((name) => chunkFiles(cluster, name, id));
        expect(files[0]!.size).toBeGreaterThan(0);
        for (const other of files.slice(1)) {
          expect([...other.keys()].sort()).toEqual([...files[0]!.keys()].sort());
          for (const [chunk, path] of files[0]!) expectEqualBytes(path, other.get(chunk)!);
        }
      },
      (LONG ? 60 : 6) * MINUTES,
    );
  }
});
