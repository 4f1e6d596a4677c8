import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ok } from '../cli/outcome.js';
import { begin, until } from '../cli/programs.js';
import { done } from '../cli/servers.js';
import { CAN_MOUNT, Mounted } from '../fuse/rig.js';
import { Domain } from './domain.js';
import { HAS_LIBVIRT, Libvirtd } from './libvirtd.js';
import { verifyRecords } from './records.js';

const MINUTES = 60_000;
const SLOTS = 256;
let mounted: Mounted;
let libvirtd: Libvirtd;
const start = (name: string, disk: string, FIRST = 1) =>
  Domain.start(libvirtd, mounted.cluster.cwd, {
    name,
    disks: [disk],
    scenario: 'load-phase',
    set: { SLOTS, FIRST },
  });

/** A qcow2 file of the pool on top of its disk, which all is written to, and back into the disk. */
async function throughOverlay(domain: Domain, between = async () => {}): Promise<void> {
  const overlay = `overlay-${domain.name}`;
  const spec = `vda,file=${mounted.path(overlay)}`;
  await domain.virsh('snapshot-create-as', 's1', '--disk-only', '--no-metadata', '--diskspec', spec);
  expect(await domain.virsh('domblklist')).toContain(mounted.path(overlay));
  await domain.getsOn();
  await between();
  await domain.virsh('blockcommit', 'vda', '--active', '--pivot', '--wait');
  expect(await domain.virsh('domblklist')).not.toContain(overlay);
  await mounted.sh(`rm ${overlay}`);
  await domain.getsOn();
}

async function throughManagedSave(domain: Domain): Promise<void> {
  await domain.virsh('managedsave');
  expect(await domain.virsh('domstate', '--reason')).toBe('shut off (saved)');
  await domain.virsh('start');
  await domain.getsOn();
}

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
      const domain = await start('file', disk);
      await domain.getsOn();
      // Its image locks keep others out, and its lease other machines.
      expect(await mounted.fails("qemu-io -f raw -c 'write 0 4k' disk")).toContain('lock');
      await throughOverlay(domain, async () => {
        expect(await mounted.sh('qemu-img info -U overlay-file')).toMatch(/backing file: .*mnt\/disk/);
        process.kill(mounted.cluster.facts.pids['ost-2']!, 'SIGKILL');
        await domain.getsOn();
      });
      await throughManagedSave(domain);
      await domain.virsh('destroy');
      await verifyRecords(mounted.cluster.cwd, mounted.path('disk'), SLOTS, domain.lastRecord);
      await domain.virsh('undefine');
      await libvirtd.virsh('vol-delete', 'disk', 'pool1');
    },
    10 * MINUTES,
  );

  it(
    'the same volume as an NBD network disk, and as a vhost-user disk: what libvirt does with these, and what it refuses',
    async () => {
      const { cluster } = mounted;
      await libvirtd.virsh('vol-create-as', 'pool1', 'disk', '64M', '--allocation', '0');
      const nbd = ok(await cluster.volume('attach', 'disk', '--print', 'libvirt'));
      const network = await start('network', nbd);
      await network.getsOn();
      await throughOverlay(network);
      await throughManagedSave(network);
      await network.virsh('destroy');
      await done(cluster.volume('detach', 'disk', '--force'));
      const last = await onVhost(network.lastRecord + 1);
      await verifyRecords(cluster.cwd, mounted.path('disk'), SLOTS, last);
      for (const name of ['network', 'shared']) await libvirtd.virsh('undefine', name);
      await libvirtd.virsh('vol-delete', 'disk', 'pool1');
    },
    10 * MINUTES,
  );
});

/** Goes on with the records. @returns the last one */
async function onVhost(first: number): Promise<number> {
  const { cluster } = mounted;
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
    const shared = await start('shared', vhost.replace(/<!--.*-->/, ''), first);
    await shared.getsOn();
    // QEMU has no block layer over it, and libvirt says so by itself.
    const overlay = ['--diskspec', `vda,file=${mounted.path('overlay')}`];
    const refused = await libvirtd.try('snapshot-create-as', 'shared', 's1', '--disk-only', ...overlay);
    expect(refused.all).toContain("block jobs are not supported on vhostuser disk 'vda'");
    // A snapshot of the volume is what there is instead.
    await done(cluster.volume('snapshot', 'disk@live'));
    await shared.getsOn();
    await done(cluster.volume('snapshot', 'rm', 'disk@live', '-y'));
    await throughManagedSave(shared);
    await shared.virsh('destroy');
    return shared.lastRecord;
  } finally {
    server.kill('SIGTERM');
    await server;
  }
}
