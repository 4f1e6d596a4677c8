import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ok } from '../cli/outcome.js';
import { temporaryDirectory, UpCluster, until } from '../cli/programs.js';
import { CAN_MOUNT, Mounted } from '../fuse/rig.js';
import { Domain } from './domain.js';
import { HAS_LIBVIRT, Libvirtd } from './libvirtd.js';
import { verifyRecords } from './records.js';

const MINUTES = 60_000;
/** All of the disk: there is always a place that nothing was written to yet. */
const SLOTS = 65_536;
const DISK = '256M';
let cwd: string;
let mounted: Mounted;
let libvirtd: Libvirtd;

const start = (name: string, disk: string) =>
  Domain.start(libvirtd, cwd, { name, disks: [disk], scenario: 'load-phase', set: { SLOTS } });

describe.skipIf(!CAN_MOUNT || !HAS_LIBVIRT)('guests of a cluster that gets full', () => {
  beforeAll(async () => {
    cwd = temporaryDirectory();
    const dir = join(cwd, 'disk');
    mkdirSync(dir);
    const make = `truncate -s 400M ${cwd}/img; mkfs.ext4 -qF ${cwd}/img; mount -o loop ${cwd}/img ${dir}`;
    await execa('bash', ['-ec', make]);
    mounted = await Mounted.on(await UpCluster.start(['--osts', '2', '--no-volume'], dir), '../mnt');
    libvirtd = await Libvirtd.start(cwd);
  }, 2 * MINUTES);
  afterAll(async () => {
    await libvirtd?.stop();
    await mounted?.end();
    await mounted?.cluster.stop();
    await execa('umount', ['-l', join(cwd, 'disk')], { reject: false });
    rmSync(cwd, { recursive: true, force: true });
  }, 2 * MINUTES);

  it(
    'are paused by QEMU, as a file and over NBD, and go on where they were when there is room again',
    async () => {
      const { cluster } = mounted;
      for (const name of ['file', 'nbd']) ok(await cluster.volume('create', name, '--size', DISK));
      const file = `<disk type='file' device='disk'><driver name='qemu' type='raw' cache='none'/>
        <source file='${mounted.path('file')}'/><target dev='vda' bus='virtio'/></disk>`;
      const nbd = ok(await cluster.volume('attach', 'nbd', '--print', 'libvirt'));
      const domains = await Promise.all([start('file', file), start('nbd', nbd)]);
      await Promise.all(domains.map((domain) => domain.getsOn()));
      const isPaused = async (domain: Domain) => {
        const state = await domain.virsh('domstate', '--reason');
        if (!/^(running|paused)/.test(state)) throw new Error(`${domain.name} is ${state}: ${domain.said}`);
        return state === 'paused (I/O error)';
      };
      const fill = '! dd if=/dev/zero of=big bs=1M count=1000';
      expect(await mounted.sh(fill, 5 * MINUTES)).toContain('No space left');
      for (const domain of domains) await until(() => isPaused(domain));
      expect(await domains[0]!.virsh('domblkerror')).toBe('vda: no space');
      // Resumed too early it stops at the same place, and the guest hears of nothing.
      await domains[0]!.virsh('resume');
      await until(() => isPaused(domains[0]!));
      await mounted.sh('rm big');
      // OSTs look at their disks every few seconds; who was resumed before that is paused once more.
      for (const domain of domains) {
        const from = domain.lastRecord;
        await until(async () => {
          if (await isPaused(domain)) await domain.virsh('resume');
          return domain.lastRecord > from + 64;
        });
        expect(domain.said).not.toMatch(/I\/O error|FAILED/);
        await domain.virsh('destroy');
      }
      await cluster.volume('detach', 'nbd', '--force');
      for (const { name, lastRecord } of domains) {
        await verifyRecords(cwd, mounted.path(name), SLOTS, lastRecord);
      }
    },
    10 * MINUTES,
  );
});
