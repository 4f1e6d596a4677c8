import { closeSync, openSync, writeFileSync } from 'node:fs';
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

/** While OSTs are slow to tell what it takes, that is what it is long. */
async function hasNothing(name: string, capacity: number): Promise<void> {
  await until(async () => (await volume(name)).allocation === 0);
  expect((await volume(name)).capacity).toBe(capacity);
}

/** A command of virsh that has to be refused, for this reason. */
async function refused(reason: string | RegExp, ...args: string[]): Promise<void> {
  const { exitCode, all } = await libvirtd.try(...args);
  expect(exitCode, args.join(' ')).not.toBe(0);
  expect(all, args.join(' ')).toMatch(reason);
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
    await refused('No source device', 'pool-build', 'pool1', '--no-overwrite');
    await virsh('pool-start', 'pool1');
    await virsh('pool-refresh', 'pool1');
    expect(await virsh('vol-list', 'pool1')).toMatch(/^vm1 +\/.*mnt\/vm1$/);
    await virsh('pool-autostart', 'pool1');
    expect(await virsh('pool-info', '--bytes', 'pool1')).toMatch(
      /State: +running(.|\n)*Persistent: +yes\nAutostart: +yes\nCapacity: +\d{9,}/,
    );
    await virsh('pool-autostart', 'pool1', '--disable');
    expect(await virsh('pool-list', '--all', '--type', 'dir')).toMatch(/^pool1 +active +no$/);
    const uuid = await virsh('pool-uuid', 'pool1');
    expect(await virsh('pool-name', uuid)).toBe('pool1');
    expect(await virsh('pool-dumpxml', 'pool1')).toContain(`<path>${mounted.dir}</path>`);
    await refused('already active', 'pool-start', 'pool1');
    await refused('still active', 'pool-delete', 'pool1');
  });

  it('creates volumes, with the capacity and allocation that were asked for, and resizes them', async () => {
    await virsh('vol-create-as', 'pool1', 'thin', '20M', '--allocation', '0');
    await hasNothing('thin', 20 * MiB);
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
    await hasNothing('thin', 30 * MiB);
    const info = JSON.parse(ok(await mounted.cluster.volume('info', 'thin', '--output', 'json')));
    expect(info.sizeBytes).toBe(30 * MiB);
    await refused("Can't shrink", 'vol-resize', 'thin', '10M', 'pool1');
    await virsh('vol-resize', 'thin', '10M', 'pool1', '--shrink');
    await virsh('vol-resize', 'thin', '1M', 'pool1', '--delta');
    await hasNothing('thin', 11 * MiB);
    await virsh('vol-resize', 'thin', '12M', 'pool1', '--allocate');
    await until(async () => (await volume('thin')).allocation >= MiB);
  });

  it('tells of volumes by name, path and key', async () => {
    const path = mounted.path('thin');
    expect(await virsh('vol-path', 'thin', 'pool1')).toBe(path);
    expect(await virsh('vol-key', 'thin', 'pool1')).toBe(path);
    expect(await virsh('vol-name', path)).toBe('thin');
    expect(await virsh('vol-pool', path)).toBe('pool1');
    const xml = await virsh('vol-dumpxml', 'thin', 'pool1');
    expect(xml).toContain(`<capacity unit='bytes'>${12 * MiB}</capacity>`);
    expect(xml).toMatch(/<format type='raw'\/>(.|\n)*<mode>0600</);
    expect(await virsh('vol-list', 'pool1', '--details')).toMatch(/thin +\/.*\/thin +file +12\.00 MiB/);
  });

  it('refuses what no volume can be', async () => {
    await refused('exists already', 'vol-create-as', 'pool1', 'thin', '1M');
    await refused('Invalid argument', 'vol-create-as', 'pool1', 'not a name', '1M');
    await refused('not permitted', 'vol-create-as', 'pool1', 'directory', '1M', '--format', 'dir');
    await refused('not supported', 'vol-clone', 'thin', 'shared', 'pool1', '--reflink');
    await refused('not supported', 'vol-wipe', 'thin', 'pool1', '--algorithm', 'trim');
    await refused('no storage vol', 'vol-info', 'shared', 'pool1');
  });

  it('refuses to change, and to remove, what somebody else writes to', async () => {
    const other = await Mounted.on(mounted.cluster, 'other');
    const image = join(mounted.cluster.cwd, 'small.raw');
    const held = openSync(other.path('thin'), 'r+');
    try {
      await mounted.sh(`head -c 100000 /dev/urandom > ${image}`);
      await refused('busy', 'vol-resize', 'thin', '20M', 'pool1');
      await refused('busy', 'vol-upload', 'thin', image, 'pool1');
      await refused('busy', 'vol-wipe', 'thin', 'pool1');
      await refused('busy', 'vol-delete', 'thin', 'pool1');
      // To read needs no lease.
      await virsh('vol-download', 'thin', `${image}.down`, 'pool1');
      await virsh('vol-clone', 'thin', 'beside', 'pool1');
      await mounted.sh(`cmp ${image}.down beside`);
      await virsh('vol-delete', 'beside', 'pool1');
    } finally {
      closeSync(held);
      expect(await other.end()).toBe(0);
    }
    await virsh('vol-upload', 'thin', image, 'pool1');
    await mounted.sh(`cmp -n 100000 ${image} thin`);
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
    const part = ['--offset', '1000000', '--length', '3000001'];
    await virsh('vol-download', 'up', `${image}.part`, 'pool1', ...part);
    await mounted.sh(
      `cmp -i 1000000:0 -n 3000001 up ${image}.part; test $(stat -c %s ${image}.part) = 3000001`,
    );
    await virsh('vol-create-as', 'pool1', 'part', '12M', '--allocation', '0');
    await virsh('vol-upload', 'part', `${image}.part`, 'pool1', ...part);
    await mounted.sh(`cmp -i 0:1000000 ${image}.part part -n 3000001; test $(stat -c %s part) = ${12 * MiB}`);
    const from = `${image}.xml`;
    writeFileSync(from, `<volume><name>from</name><capacity>${14 * MiB}</capacity></volume>`);
    await virsh('vol-create-from', 'pool1', from, 'up', '--inputpool', 'pool1');
    await mounted.sh(`cmp -n ${12 * MiB} up from; test $(stat -c %s from) = ${14 * MiB}`);
    await virsh('vol-clone', 'up', 'copy', 'pool1');
    await mounted.sh('cmp up copy');
    await virsh('vol-wipe', 'copy', 'pool1');
    expect(await mounted.sh("tr -d '\\0' < copy | wc -c; stat -c %s copy")).toBe(`0\n${12 * MiB}`);
    for (const name of ['up', 'part', 'from', 'copy', 'thin', 'thick', 'cow', 'odd'])
      await virsh('vol-delete', name, 'pool1');
    expect(await mounted.sh('ls')).toBe('vm1');
    ok(await mounted.cluster.volume('snapshot', 'vm1@keep'));
    expect((await libvirtd.try('vol-delete', 'vm1', 'pool1')).all).toContain('busy');
    ok(await mounted.cluster.volume('snapshot', 'rm', 'vm1@keep', '-y'));
  });

  it('is stopped and forgotten, and the volumes stay', async () => {
    await virsh('pool-destroy', 'pool1');
    // It would remove the directory, which a mount is on.
    await refused('busy', 'pool-delete', 'pool1');
    await refused('not active', 'vol-list', 'pool1');
    await virsh('pool-undefine', 'pool1');
    expect(await mounted.sh('ls')).toBe('vm1');
    await virsh('pool-create-as', 'passing', 'dir', '--target', mounted.dir);
    expect(await virsh('pool-info', 'passing')).toMatch(/Persistent: +no/);
    expect(await virsh('vol-list', 'passing')).toMatch(/^vm1 /);
    await virsh('pool-destroy', 'passing');
    expect(await virsh('pool-list', '--all', '--name')).toBe('');
    expect(await mounted.sh('ls')).toBe('vm1');
  });
});
