import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { UpCluster } from '../cli/programs.js';

/**
 * As much as the disks and CPUs take: sequential and random writes with flushes, on a volume with a replica on each of
 * three OSTs. No replica may leave its set for that (docs/consistency, I14): a blocked server gives no sign of life.
 */

const LONG = process.env.RAWSTOR_TEST_LONG === '1';
const SECONDS = LONG ? 600 : 15;
const MINUTES = 60_000;
/** T/2. */
const STALL_MS = 500;

interface ServerRow {
  role: string;
  id: string;
  loopStallMaxMs: number | null;
}

let cluster: UpCluster;
beforeAll(async () => {
  cluster = await UpCluster.start(['--no-volume']);
  const size = LONG ? '8G' : '1G';
  const created = await cluster.volume('create', 'busy', '--size', size, '--replicas', '3');
  expect(created, created.stderr).toMatchObject({ code: 0 });
}, 2 * MINUTES);
afterAll(() => cluster?.remove(), MINUTES);

const members = async () => JSON.parse((await cluster.volume('info', 'busy', '--output', 'json')).stdout);
const logOf = (name: string) => readFileSync(join(cluster.facts.dir, 'logs', `${name}.log`), 'utf8');

describe('under more than it can take', () => {
  it(
    'no replica leaves its set, and every role tells how long its loop was held up',
    async () => {
      const common = ['--ioengine=nbd', `--uri=${cluster.uriOf('busy')}`, '--time_based'];
      const place = { cwd: cluster.cwd };
      await execa(
        'fio',
        [
          ...common,
          `--runtime=${SECONDS}`,
          ...['--name=sequential', '--rw=write', '--bs=1M', '--iodepth=8', '--size=50%'],
          ...['--name=random', '--rw=randwrite', '--bs=4k', '--iodepth=64', '--fsync=2000'],
          ...['--offset=50%', '--size=50%'],
        ],
        place,
      );
      const status = JSON.parse((await cluster.rawstor('status', '--output', 'json')).stdout);
      const stalls = (status.servers as ServerRow[]).filter((server) => server.role !== 'mgs');
      expect(stalls.map((server) => server.role).sort()).toEqual(['mds', 'nbd', 'ost', 'ost', 'ost']);
      for (const { role, id, loopStallMaxMs } of stalls) {
        expect(loopStallMaxMs, `${role} ${id}`).toBeTypeOf('number');
        if (LONG) expect(loopStallMaxMs, `${role} ${id}`).toBeLessThan(STALL_MS);
      }
      console.log(
        `stalls: ${stalls.map(({ role, loopStallMaxMs }) => `${role} ${loopStallMaxMs!.toFixed(0)} ms`).join(', ')}`,
      );
      expect(logOf('nbd')).not.toMatch(/leave the in-sync set|is given up/);
      const info = await members();
      expect(info.members.map((member: { state: string }) => member.state)).toEqual(Array(3).fill('in-sync'));
    },
    (SECONDS + 120) * 1000,
  );
});
