import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runGuest } from '../../../scripts/qemu/guest.js';
import { ok } from '../cli/outcome.js';
import { begin, until } from '../cli/programs.js';
import { CAN_MOUNT, Mounted } from '../fuse/rig.js';
import { Domain } from './domain.js';
import { HAS_LIBVIRT, Libvirtd } from './libvirtd.js';

const MINUTES = 60_000;
let mounted: Mounted;
let libvirtd: Libvirtd;
const start = (name: string, disk: string, scenario: string, set = {}) =>
  Domain.start(libvirtd, mounted.cluster.cwd, { name, disks: [disk], scenario, set });

describe.skipIf(!CAN_MOUNT || !HAS_LIBVIRT)('domains on volumes of a pool', () => {
  beforeAll(async () => {
    mounted = await Mounted.start(['--osts', '3', '--no-volume']);
    libvirtd = await Libvirtd.start(mounted.cluster.cwd);
    await libvirtd.virsh('pool-define-as', 'pool1', 'dir', '--target', mounted.dir);
    await libvirtd.virsh('pool-start', 'pool1');
  }, 120_000);
  afterAll(async () => {
    await libvirtd?.stop();
    await mounted?.remove();
  });

  it(
    'a file: through a disk snapshot, blockcommit, managed save, and an OST that is killed',
    async () => {
      await libvirtd.virsh('vol-create-as', 'pool1', 'disk', '64M', '--allocation', '0');
      const disk = `<disk type='volume' device='disk'><driver name='qemu' type='raw' cache='none'/>
        <source pool='pool1' volume='disk'/><target dev='vda' bus='virtio'/></disk>`;
      const domain = await start('file', disk, 'load-phase', { SLOTS: 256 });
      await domain.getsOn();
      // Its image locks keep others out, and its lease other machines.
      expect(await mounted.fails("qemu-io -f raw -c 'write 0 4k' disk")).toContain('lock');
      const overlay = `vda,file=${mounted.path('overlay')}`;
      await domain.virsh('snapshot-create-as', 's1', '--disk-only', '--no-metadata', '--diskspec', overlay);
      await domain.getsOn();
      expect(await mounted.sh('qemu-img info -U overlay')).toMatch(/backing file: .*mnt\/disk/);
      process.kill(mounted.cluster.facts.pids['ost-2']!, 'SIGKILL');
      await domain.getsOn();
      await domain.virsh('blockcommit', 'vda', '--active', '--pivot', '--wait');
      await libvirtd.virsh('vol-delete', mounted.path('overlay')).catch(() => mounted.sh('rm overlay'));
      await domain.getsOn();
      await domain.virsh('managedsave');
      expect(await libvirtd.virsh('domstate', 'file')).toBe('shut off');
      await domain.virsh('start');
      await domain.getsOn();
      await domain.virsh('destroy');
      const set = { SLOTS: 256, LAST: domain.lastRecord };
      const drive = `file=${mounted.path('disk')}`;
      await runGuest({ scenario: 'record-verify', drive, set, timeoutMs: 3 * MINUTES });
      await domain.virsh('undefine');
      await libvirtd.virsh('vol-delete', 'disk', 'pool1');
    },
    10 * MINUTES,
  );

  it(
    'the same volume as an NBD network disk, and as a vhost-user disk',
    async () => {
      const { cluster } = mounted;
      await libvirtd.virsh('vol-create-as', 'pool1', 'disk', '64M', '--allocation', '0');
      const nbd = ok(await cluster.volume('attach', 'disk', '--print', 'libvirt'));
      const network = await start('network', nbd, 'load-phase', { SLOTS: 64, COUNT: 40 });
      expect(await network.ends(), network.said).toBe(0);
      await cluster.volume('detach', 'disk', '--force');
      const socket = join(cluster.cwd, 'disk.vhost');
      const server = begin('cli/rawstor', ['vhost', 'disk', '--socket-path', socket], { cwd: cluster.cwd });
      try {
        let said = '';
        server.stderr!.on('data', (bytes: Buffer) => {
          said += bytes.toString();
        });
        await until(() => said.includes('"ready"'));
        const vhost = ok(
          await cluster.volume('attach', 'disk', '--vhost', '--socket', socket, '--print', 'libvirt'),
        );
        const set = { SLOTS: 64, LAST: network.lastRecord };
        const shared = await start('shared', vhost.replace(/<!--.*-->/, ''), 'record-verify', set);
        expect(await shared.ends(), shared.said).toBe(0);
      } finally {
        server.kill('SIGTERM');
        await server;
      }
      const set = { SLOTS: 64, LAST: network.lastRecord };
      await runGuest({
        scenario: 'record-verify',
        drive: `file=${mounted.path('disk')}`,
        set,
        timeoutMs: 3 * MINUTES,
      });
      for (const name of ['network', 'shared']) await libvirtd.virsh('undefine', name);
      await libvirtd.virsh('vol-delete', 'disk', 'pool1');
    },
    10 * MINUTES,
  );
});
