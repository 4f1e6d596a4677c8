import { truncateSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { CAN_MOUNT, Mounted } from '../fuse/rig.js';
import { Domain } from './domain.js';
import { HAS_LIBVIRT, Libvirtd } from './libvirtd.js';
import { verifyRecords } from './records.js';

const MAKE_BOOT_DISK = fileURLToPath(new URL('../../../scripts/qemu/make-boot-disk', import.meta.url));
const MINUTES = 60_000;
const MiB = 1024 * 1024;
let mounted: Mounted;
let libvirtd: Libvirtd;
const virsh = (...args: string[]) => libvirtd.virsh(...args);

describe.skipIf(!CAN_MOUNT || !HAS_LIBVIRT)('virt-install', () => {
  beforeAll(async () => {
    mounted = await Mounted.start(['--osts', '3', '--no-volume']);
    libvirtd = await Libvirtd.start(mounted.cluster.cwd);
    await virsh('pool-define-as', 'pool1', 'dir', '--target', mounted.dir);
    await virsh('pool-start', 'pool1');
  }, 5 * MINUTES);
  afterAll(async () => {
    await libvirtd?.stop();
    await mounted?.remove();
  }, 5 * MINUTES);

  it(
    'imports a clone of a golden image as a guest, which boots from it; all goes with its storage',
    async () => {
      const image = join(mounted.cluster.cwd, 'golden.img');
      await execa(MAKE_BOOT_DISK, ['load-phase', image, 'SLOTS=256']);
      truncateSync(image, 64 * MiB);
      await virsh('vol-create-as', 'pool1', 'golden', '64M', '--allocation', '0');
      await virsh('vol-upload', 'golden', image, 'pool1', '--sparse');
      await virsh('vol-clone', 'golden', 'web1', 'pool1');
      const domain = Domain.known(libvirtd, mounted.cluster.cwd, 'web1');
      const installed = await libvirtd.run(
        ...['env', `HOME=${mounted.cluster.cwd}`, 'virt-install', '--connect', 'qemu:///system'],
        ...['--name', 'web1', '--import', '--memory', '512', '--vcpus', '1', '--virt-type', 'qemu'],
        ...['--osinfo', 'detect=on,require=off', '--network', 'none', '--graphics', 'none'],
        ...['--disk', 'vol=pool1/web1,bus=virtio,cache=none', '--disk', 'pool=pool1,size=0.25,bus=virtio'],
        ...['--serial', `file,path=${domain.console}`, '--noautoconsole'],
      );
      expect(installed.exitCode, installed.all).toBe(0);
      await domain.getsOn();
      expect(await virsh('domstate', 'web1')).toBe('running');
      // The second disk is one that it has made in the pool by itself.
      expect(await virsh('vol-list', 'pool1')).toMatch(/^golden .*\n *web1 .*\n *web1\.qcow2 /);
      expect(await virsh('domblkinfo', 'web1', 'vda')).toMatch(new RegExp(`Capacity: +${64 * MiB}\\b`));
      await virsh('destroy', 'web1');
      await verifyRecords(mounted.cluster.cwd, mounted.path('web1'), 256, domain.lastRecord);
      await virsh('undefine', 'web1', '--remove-all-storage');
      expect(await virsh('list', '--all', '--name')).toBe('');
      expect(await mounted.sh(`ls; cmp ${image} golden`)).toBe('golden');
      await virsh('vol-delete', 'golden', 'pool1');
      expect((await mounted.cluster.volume('ls', '--output', 'json')).stdout.trim()).toBe('[]');
    },
    15 * MINUTES,
  );
});
