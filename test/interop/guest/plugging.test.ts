import { join } from 'node:path';
import { afterEach, expect, it } from 'vitest';
import { type RunningGuest, startGuest } from '../../../scripts/qemu/guest.js';
import { Qmp } from '../../../scripts/qemu/qmp.js';
import { MiB } from '../../../src/common/units.js';
import { begin, UpCluster, until } from '../cli/programs.js';
import { done } from '../cli/servers.js';

/** What changes of a machine while its guest runs: disks and memory come and go, and disks have another size. */

const MINUTES = 60_000;
let up: UpCluster;
let server: ReturnType<typeof begin>;
let guest: RunningGuest;
let said = '';

/** @returns the directory of a socket for each */
async function serve(...volumes: string[]): Promise<string> {
  said = '';
  server = begin('cli/rawstor', ['vhost', ...volumes, '--socket-dir', up.cwd], { cwd: up.cwd });
  server.stderr!.on('data', (bytes: Buffer) => {
    said += bytes.toString();
  });
  const ended = server.then(() => {
    throw new Error(`rawstor vhost has ended: ${said}`);
  });
  ended.catch(() => {});
  await Promise.race([until(() => said.includes('"ready"')), ended]);
  return up.cwd;
}

afterEach(async () => {
  guest?.kill();
  server?.kill('SIGTERM');
  await server;
  await up?.remove();
}, MINUTES);

function start(scenario: string, set: Record<string, string | number>, ...extraArgs: string[]) {
  const vhostUser = join(up.cwd, 'vm1.vhost');
  const monitor = ['-qmp', `unix:${up.cwd}/qmp,server=on,wait=off`];
  const more = { memoryMiB: 256, timeoutMs: 6 * MINUTES, extraArgs: [...monitor, ...extraArgs] };
  guest = startGuest({ scenario, set, vhostUser, ...more });
  return Qmp.connect(join(up.cwd, 'qmp'));
}

async function ends(): Promise<void> {
  const { code, output } = await guest.result;
  expect(code, output).toBe(0);
  expect(output).not.toMatch(/I\/O error|EXT4-fs error/);
  // A warning that something is slow is no fault: so may all be here.
  expect(said).not.toMatch(/"level":(5|6)0/);
}

it(
  'a disk comes to a guest that runs, goes, and comes back with all that was on it',
  async () => {
    up = await UpCluster.start(['--volume', 'vm1:64M:2', '--volume', 'vm2:64M:2']);
    const sockets = await serve('vm1', 'vm2');
    const port = 'pcie-root-port,id=root1,chassis=1';
    const qmp = await start('plug-phase', { OTHER: '/dev/vdb' }, '-device', port);
    const data = { addr: { type: 'unix', data: { path: join(sockets, 'vm2.vhost') } }, server: false };
    const plug = async () => {
      await qmp.call('chardev-add', { id: 'way', backend: { type: 'socket', data } });
      const driver = 'vhost-user-blk-pci';
      await qmp.call('device_add', { driver, id: 'disk', chardev: 'way', bus: 'root1', 'num-queues': 2 });
    };
    await guest.waitForLine(/^guest: waiting/, 3 * MINUTES);
    await plug();
    await guest.waitForLine(/^guest: used/, 2 * MINUTES);
    await qmp.call('device_del', { id: 'disk' });
    await guest.waitForLine(/^guest: gone/, MINUTES);
    const plugged = async () =>
      (await qmp.call('qom-list', { path: '/machine/peripheral' })) as readonly { name: string }[];
    await until(async () => !(await plugged()).some(({ name }) => name === 'disk'));
    await qmp.call('chardev-remove', { id: 'way' });
    await plug();
    await ends();
    qmp.close();
  },
  8 * MINUTES,
);

it(
  'memory comes to a guest that runs and goes again, with its reads and writes in it',
  async () => {
    up = await UpCluster.start(['--volume', 'vm1:256M:2']);
    await serve('vm1');
    // A kernel's block of memory is 128 MiB.
    const qmp = await start('memory-phase', { BLOCKS: 2 }, '-m', 'slots=2,maxmem=2G');
    await guest.waitForLine(/^guest: waiting/, 3 * MINUTES);
    const type = 'memory-backend-memfd';
    await qmp.call('object-add', { 'qom-type': type, id: 'more', size: 256 * MiB, share: true });
    await qmp.call('device_add', { driver: 'pc-dimm', id: 'dimm', memdev: 'more' });
    await guest.waitForLine(/^guest: used/, 2 * MINUTES);
    // Asked again: where a page cannot be moved at the moment, the guest's kernel keeps all of it.
    const ask = () => qmp.call('device_del', { id: 'dimm' }).catch(() => {});
    await ask();
    const asking = setInterval(ask, 5000);
    await guest.waitForLine(/^guest: left/, 3 * MINUTES).finally(() => clearInterval(asking));
    await ends();
    qmp.close();
  },
  8 * MINUTES,
);

it(
  'an idle guest sees its disk become smaller and larger, and has what was not cut off',
  async () => {
    up = await UpCluster.start(['--volume', 'vm1:64M:2']);
    await serve('vm1');
    const at = (mib: number) => (mib * MiB) / 512;
    const qmp = await start('resize-phase', { SMALL: at(32), LARGE: at(128) });
    const atSize = (mib: number) => guest.waitForLine(new RegExp(`^guest: at ${at(mib)}$`), 3 * MINUTES);
    await atSize(64);
    await done(up.volume('resize', 'vm1', '32M', '--shrink'));
    await atSize(32);
    await done(up.volume('resize', 'vm1', '128M'));
    await atSize(128);
    await ends();
    qmp.close();
  },
  8 * MINUTES,
);
