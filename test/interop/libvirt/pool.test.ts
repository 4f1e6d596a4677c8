import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { ok } from '../cli/outcome.js';
import { run, until } from '../cli/programs.js';
import { CAN_MOUNT, Mounted } from '../fuse/rig.js';
import { HAS_LIBVIRT, Libvirtd } from './libvirtd.js';

vi.setConfig({ testTimeout: 300_000 });

const MiB = 1024 * 1024;
let mounted: Mounted;
let libvirtd: Libvirtd;
const virsh = (...args: string[]) => libvirtd.virsh(...args);

/** In bytes, as libvirt has it of a volume. What it takes is not told while an OST is slow to answer, as docs/fuse.md has it. */
async function volume(name: string): Promise<{ capacity: number; allocation: number }> {
  const text = await virsh('vol-info', '--bytes', name, 'pool1');
  const of = (label: string) => Number(new RegExp(`${label}: +(\\d+)`).exec(text)![1]);
  return { capacity: of('Capacity'), allocation: of('Allocation') };
}

describe.skipIf(!CAN_MOUNT || !HAS_LIBVIRT)('a libvirt pool on a mount', () => {
  beforeAll(async () => {
    mounted = await Mounted.start(['--osts', '2', '--volume', 'vm1:64M']);
    libvirtd = await Libvirtd.start(mounted.cluster.cwd);
  }, 120_000);
  afterAll(async () => {
    await libvirtd?.stop();
    await mounted?.remove();
  });

  it('is defined by our own command, built, started, looked at', async () => {
    const place = { cwd: mounted.cluster.cwd, by: libvirtd.by };
    const args = ['--connect', 'qemu:///system', '--mount', mounted.dir];
    expect(ok(await run('cli/rawstor', ['libvirt', 'pool', 'define', 'pool1', ...args], place))).toContain(
      'pool1',
    );
    const print = ok(
      await mounted.cluster.rawstor('libvirt', 'pool', 'define', 'a<b', '--mount', '/x', '--print'),
    );
    expect(print).toContain('<name>a&lt;b</name>');
    await virsh('pool-build', 'pool1');
    await virsh('pool-start', 'pool1');
    await virsh('pool-refresh', 'pool1');
    expect(await virsh('vol-list', 'pool1')).toMatch(/^vm1 +\/.*mnt\/vm1$/);
    expect(await virsh('pool-info', '--bytes', 'pool1')).toMatch(/State: +running(.|\n)*Capacity: +\d{9,}/);
  });

  it('creates volumes, with the capacity and allocation that were asked for, and resizes them', async () => {
    await virsh('vol-create-as', 'pool1', 'thin', '20M', '--allocation', '0');
    expect(await volume('thin')).toEqual({ capacity: 20 * MiB, allocation: 0 });
    await virsh('vol-create-as', 'pool1', 'thick', '8M');
    expect((await volume('thick')).capacity).toBe(8 * MiB);
    await until(async () => (await volume('thick')).allocation >= 8 * MiB);
    await virsh('vol-create-as', 'pool1', 'cow', '100M', '--format', 'qcow2');
    expect(await volume('cow')).toMatchObject({ capacity: 100 * MiB });
    const xml = join(mounted.cluster.cwd, 'vol.xml');
    writeFileSync(
      xml,
      "<volume><name>odd</name><capacity unit='bytes'>1000001</capacity><allocation>0</allocation>" +
        "<target><format type='raw'/><permissions><mode>0640</mode><owner>107</owner><group>108</group></permissions></target></volume>",
    );
    await virsh('vol-create', 'pool1', xml);
    expect(await mounted.sh("stat -c '%s %a %u %g' odd")).toBe('1000001 640 107 108');
    await virsh('vol-resize', 'thin', '30M', 'pool1');
    expect(await volume('thin')).toEqual({ capacity: 30 * MiB, allocation: 0 });
    const info = JSON.parse(ok(await mounted.cluster.volume('info', 'thin', '--output', 'json')));
    expect(info.sizeBytes).toBe(30 * MiB);
  });

  it('uploads, downloads, clones, wipes and deletes', async () => {
    const image = join(mounted.cluster.cwd, 'up.raw');
    await mounted.sh(
      `truncate -s 12M ${image}; dd if=/dev/urandom of=${image} bs=64k count=16 seek=48 conv=notrunc status=none`,
    );
    await virsh('vol-create-as', 'pool1', 'up', '12M', '--allocation', '0');
    await virsh('vol-upload', 'up', image, 'pool1', '--sparse');
    await mounted.sh(`cmp ${image} up`);
    await until(async () => (await volume('up')).allocation === MiB);
    await virsh('vol-download', 'up', `${image}.down`, 'pool1', '--sparse');
    await mounted.sh(`cmp ${image} ${image}.down; test $(du -k ${image}.down | cut -f1) -le 1100`);
    await virsh('vol-clone', 'up', 'copy', 'pool1');
    await mounted.sh('cmp up copy');
    await virsh('vol-wipe', 'copy', 'pool1');
    expect(await mounted.sh("tr -d '\\0' < copy | wc -c; stat -c %s copy")).toBe(`0\n${12 * MiB}`);
    for (const name of ['up', 'copy', 'thin', 'thick', 'cow', 'odd'])
      await virsh('vol-delete', name, 'pool1');
    expect(await mounted.sh('ls')).toBe('vm1');
    ok(await mounted.cluster.volume('snapshot', 'vm1@keep'));
    expect((await libvirtd.try('vol-delete', 'vm1', 'pool1')).all).toContain('busy');
    ok(await mounted.cluster.volume('snapshot', 'rm', 'vm1@keep', '-y'));
  });

  it('is stopped and forgotten, and the volumes stay', async () => {
    await virsh('pool-destroy', 'pool1');
    await virsh('pool-undefine', 'pool1');
    expect(await mounted.sh('ls')).toBe('vm1');
  });
});
