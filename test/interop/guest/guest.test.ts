import { rmSync } from 'node:fs';
import { afterEach, describe, expect, it } from 'vitest';
import { runGuest, startGuest } from '../../../scripts/qemu/guest.js';
import { isAlive, temporaryDirectory, UpCluster, until } from '../cli/programs.js';
import { driveOf } from './drive.js';

/** Real guests under emulation on volumes of a cluster of real processes. */

const MINUTES = 60_000;
const GUEST_MS = 4 * MINUTES;
let cwd: string | null = null;
let up: UpCluster | null = null;

async function start(...args: string[]): Promise<UpCluster> {
  cwd ??= temporaryDirectory();
  up = await UpCluster.start(args, cwd);
  return up;
}

afterEach(async () => {
  await up?.stop();
  if (cwd !== null) rmSync(cwd, { recursive: true, force: true });
  up = null;
  cwd = null;
}, MINUTES);

/** Every process of the cluster, its parent too, ended at once or the parent alone; none may be left. */
async function killHard(cluster: UpCluster, whom: 'parent' | 'all'): Promise<void> {
  const pids = Object.values(cluster.facts.pids);
  cluster.process.kill('SIGKILL');
  if (whom === 'all') for (const pid of pids) process.kill(pid, 'SIGKILL');
  await cluster.process;
  await until(() => !pids.some(isAlive));
}

describe('a guest on a volume with two replicas', () => {
  it(
    'writes files, is reset without unmounting, and finds them whole',
    async () => {
      const cluster = await start('--volume', 'vm1:1G:2');
      await runGuest({
        scenario: 'reboot-phase',
        drive: driveOf(cluster),
        reboots: true,
        timeoutMs: GUEST_MS,
      });
      const info = JSON.parse((await cluster.volume('info', 'vm1', '--output', 'json')).stdout);
      expect(info.members.map((member: { state: string }) => member.state)).toEqual(['in-sync', 'in-sync']);
    },
    6 * MINUTES,
  );

  it(
    'finds its files after the parent alone was killed, and after all processes were killed at once',
    async () => {
      let cluster = await start('--volume', 'vm1:1G:2');
      const drive = () => driveOf(cluster);
      const { sums } = await runGuest({ scenario: 'write-phase', drive: drive(), timeoutMs: GUEST_MS });
      expect(sums).toMatch(/^[0-9a-f]{64}$/);
      for (const whom of ['parent', 'all'] as const) {
        await killHard(cluster, whom);
        cluster = await start();
        const set = { SUMS: sums! };
        await runGuest({ scenario: 'verify-phase', drive: drive(), set, timeoutMs: GUEST_MS });
      }
    },
    12 * MINUTES,
  );

  it(
    'keeps every record it was told to be durable when all processes are killed under its load',
    async () => {
      let cluster = await start('--volume', 'vm1:1G:2');
      const set = { TARGET: 'file' };
      const guest = startGuest({ scenario: 'load-phase', drive: driveOf(cluster), set, timeoutMs: GUEST_MS });
      await guest.waitForRecord(200, 2 * MINUTES);
      await killHard(cluster, 'all');
      // The guest is cut off with its disk, or it would go on where the next cluster begins.
      guest.kill();
      const { lastRecord } = await guest.result;
      cluster = await start();
      await runGuest({
        scenario: 'record-verify',
        drive: driveOf(cluster),
        set: { ...set, LAST: lastRecord },
        timeoutMs: GUEST_MS,
      });
    },
    12 * MINUTES,
  );

  it(
    'goes on without an error while an OST, then the gateway, are killed and come back',
    async () => {
      const cluster = await start('--volume', 'vm1:1G:2');
      const set = { TARGET: 'file' };
      const guest = startGuest({ scenario: 'load-phase', drive: driveOf(cluster), set, timeoutMs: GUEST_MS });
      await guest.waitForRecord(50, 2 * MINUTES);
      for (const name of ['ost-1', 'ost-2', 'ost-3', 'nbd']) {
        process.kill(cluster.facts.pids[name]!, 'SIGKILL');
        await until(() => new RegExp(`^rawstor: ${name} is back$`, 'm').test(cluster.said()));
        await guest.waitForRecord(guest.lastRecord + 100, MINUTES);
        await until(async () => await allInSync(cluster));
      }
      guest.kill();
      const { lastRecord, output } = await guest.result;
      expect(output).not.toMatch(/I\/O error|EXT4-fs error/);
      await runGuest({
        scenario: 'record-verify',
        drive: driveOf(cluster),
        set: { ...set, LAST: lastRecord },
        timeoutMs: GUEST_MS,
      });
    },
    12 * MINUTES,
  );
});

async function allInSync(cluster: UpCluster): Promise<boolean> {
  const { stdout } = await cluster.volume('info', 'vm1', '--output', 'json');
  const info = JSON.parse(stdout) as { members: { state: string }[] };
  return info.members.every((member) => member.state === 'in-sync');
}
