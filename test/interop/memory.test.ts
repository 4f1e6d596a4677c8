import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Cluster } from '../../src/client/index.js';
import { systemClock } from '../../src/common/clock.js';
import { silentLogger } from '../../src/common/log.js';
import { MiB } from '../../src/common/units.js';
import { createIo, type Io } from '../../src/io/index.js';
import { RawNbd, request } from '../fixtures/nbd-client.js';
import { UpCluster, until } from './cli/programs.js';

/** How much memory a cluster ever takes when one of its parts, or a client, is slow. */

const MINUTES = 60_000;
const LIMIT_MIB = 400;
const NBD_READ = 0;
const LONG = process.env.RAWSTOR_TEST_LONG === '1';

let up: UpCluster;
let io: Io;
let cluster: Cluster;

beforeAll(async () => {
  up = await UpCluster.start(['--osts', '2', '--volume', 'vm1:10G']);
  io = createIo({ poolBytes: 4 * MiB });
  const known = { location: up.facts.mds, io, clock: systemClock, log: silentLogger, name: 'test' };
  cluster = await Cluster.connect(known);
}, MINUTES);

afterAll(async () => {
  await cluster.close();
  await io.close();
  await up.remove();
}, MINUTES);

/** Most memory that each process ever had, in MiB; fails for one that is not there any more. */
function peaksMiB(): Record<string, number> {
  const pids = { up: up.process.pid!, ...up.facts.pids };
  return Object.fromEntries(
    Object.entries(pids).map(([name, pid]) => {
      const peak = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'));
      return [name, Math.round(Number(peak![1]) / 1024)];
    }),
  );
}

function expectBounded(): void {
  const peaks = peaksMiB();
  expect(Object.keys(peaks).sort()).toEqual(['mds', 'mgs', 'nbd', 'ost-1', 'ost-2', 's3', 'up']);
  for (const [name, peak] of Object.entries(peaks)) expect(peak, name).toBeLessThan(LIMIT_MIB);
}

/** Four connections that together write the first bytes of the volume, or read and verify them. */
function fio(totalMiB: number, ...options: string[]) {
  const share = totalMiB / 4;
  const place = [`--uri=${up.uriOf('vm1')}`, `--size=${share}M`, `--offset_increment=${share}M`];
  const load = ['--rw=write', '--bs=1M', '--iodepth=128', '--numjobs=4', '--verify=crc32c'];
  const args = ['--name=load', '--ioengine=nbd', '--thread', ...place, ...load, ...options];
  return execa('fio', args, { cwd: up.cwd, stdin: 'ignore' });
}

/** Stops an OST for the first seconds of each period until the work is done. @returns how often */
async function stoppingMeanwhile(pid: number, work: Promise<unknown>): Promise<number> {
  let done = false;
  let stops = 0;
  const ended = work.finally(() => {
    done = true;
  });
  const wait = (ms: number) => Promise.race([ended, systemClock.sleep(ms)]);
  try {
    for (; !done; stops++) {
      process.kill(pid, 'SIGSTOP');
      await wait(3000);
      process.kill(pid, 'SIGCONT');
      await wait(27_000);
    }
  } finally {
    process.kill(pid, 'SIGCONT');
  }
  await ended;
  return stops;
}

async function states(): Promise<string[]> {
  const { members } = await cluster.mds.call('mds.getObj', { ref: 'vm1' });
  return members.map((member) => member.state);
}

/** Of the volume. */
async function chunkFiles(ost: string): Promise<string[]> {
  const { id } = await cluster.mds.call('mds.getObj', { ref: 'vm1' });
  const dir = join(up.facts.dir, ost, 'chunks', id.slice(-2), id);
  return existsSync(dir) ? readdirSync(dir).map((name) => join(dir, name)) : [];
}

/** Writes while an OST stops and goes on: no error for the writer, replicas alike in the end, and little memory. */
async function writeWhileAnOstStops(totalMiB: number): Promise<void> {
  const writing = fio(totalMiB, '--do_verify=0');
  await until(async () => (await chunkFiles('ost-2')).length > 0);
  const stops = await stoppingMeanwhile(up.facts.pids['ost-2']!, writing);
  expect(stops).toBeGreaterThan(0);
  // A gateway repairs only what is open.
  const holder = await RawNbd.open(up.facts.nbd[0]!, { name: 'vm1' });
  await until(async () => (await states()).every((state) => state === 'in-sync'));
  const [first, second] = [await chunkFiles('ost-1'), await chunkFiles('ost-2')];
  expect(first).toHaveLength(Math.ceil(totalMiB / 1024));
  expect(second).toHaveLength(first.length);
  for (const [i, path] of first.entries()) await execa('cmp', [path, second[i]!]);
  holder.destroy();
  expectBounded();
}

describe('memory of every process stays bounded', () => {
  it('while an OST stops and goes on under a writer of 1 GiB', () => writeWhileAnOstStops(1024), 3 * MINUTES);

  it.runIf(LONG)(
    'while an OST stops and goes on under a writer of 10 GiB (long)',
    () => writeWhileAnOstStops(10_240),
    20 * MINUTES,
  );

  it(
    'while clients ask for much and read nothing, and others are served',
    async () => {
      await fio(64, '--do_verify=0');
      const slow = await Promise.all(
        Array.from({ length: 8 }, () => RawNbd.open(up.facts.nbd[0]!, { name: 'vm1' })),
      );
      for (const client of slow) {
        client.socket.pause();
        for (let i = 0; i < 512; i++) client.send(request(NBD_READ, 0, 4 * MiB, { cookie: i }));
      }
      // More than could lie in sockets on the way to the slow ones passes by them.
      await fio(64, '--verify_only');
      await fio(64, '--do_verify=1');
      expectBounded();
      for (const client of slow) client.destroy();
    },
    3 * MINUTES,
  );
});
