import { truncateSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { MiB } from '../../../src/common/units.js';
import { begin, UpCluster, until } from '../cli/programs.js';
import { done } from '../cli/servers.js';
import { Domain, type DomainOptions } from '../libvirt/domain.js';
import { HAS_LIBVIRT, Libvirtd } from '../libvirt/libvirtd.js';

/** What `attach --print` tells, taken at its word: by libvirt and by a shell. The guests are booted from the volumes. */

const MAKE_BOOT_DISK = fileURLToPath(new URL('../../../scripts/qemu/make-boot-disk', import.meta.url));
const MINUTES = 60_000;
const LONG = process.env.RAWSTOR_TEST_LONG === '1';
const QEMU_ENDING = '-nodefaults -display none -serial stdio -no-reboot';
let up: UpCluster;
let libvirtd: Libvirtd;

beforeAll(async () => {
  if (!HAS_LIBVIRT) return;
  up = await UpCluster.start();
  const image = join(up.cwd, 'boot.img');
  await execa(MAKE_BOOT_DISK, ['booted-phase', image]);
  truncateSync(image, 64 * MiB);
  await done(up.volume('import', image, 'golden'));
  await done(up.volume('snapshot', 'golden@1'));
  libvirtd = await Libvirtd.start(up.cwd);
}, 5 * MINUTES);

afterAll(async () => {
  await libvirtd?.stop();
  await up?.remove();
}, MINUTES);

/** What `attach` of a new clone prints, and the end of who serves it. */
async function attach(name: string, ...args: string[]): Promise<{ printed: string; end(): Promise<void> }> {
  await done(up.volume('clone', 'golden@1', name));
  const child = begin('cli/rawstor-volume', ['attach', name, '--accel', 'tcg', ...args], { cwd: up.cwd });
  let printed = '';
  let said = '';
  child.stdout!.on('data', (bytes: Buffer) => {
    printed += bytes.toString();
  });
  child.stderr!.on('data', (bytes: Buffer) => {
    said += bytes.toString();
  });
  let ended = false;
  void child.then(() => {
    ended = true;
  });
  // Over NBD the gateway serves; over vhost-user this process does.
  await until(() => ended || said.includes('serving until'));
  if (printed === '') throw new Error(`attach has printed nothing: ${said}`);
  const end = async () => {
    child.kill('SIGTERM');
    await child;
  };
  return { printed, end };
}

/** @returns the result of the scenario, and the console */
async function runDomain(options: DomainOptions): Promise<{ code: number; output: string }> {
  const domain = await Domain.start(libvirtd, up.cwd, options);
  const code = await domain.ends();
  return { code, output: domain.said };
}

describe.skipIf(!HAS_LIBVIRT)('libvirt', () => {
  it.each(['--vhost', '--nbd'])(
    'boots a guest from a volume: %s',
    async (kind) => {
      const name = `lv${kind.slice(1)}`;
      const { printed, end } = await attach(name, kind, '--print', 'libvirt');
      const { code, output } = await runDomain({ name, disks: [printed] });
      expect(code, output).toBe(0);
      expect(output).toContain('RECORDS-OK');
      await end();
    },
    5 * MINUTES,
  );

  it.each(LONG ? ['--vhost'] : [])(
    'has a guest write files on a volume over vhost-user, be reset, and find them whole: %s',
    async (kind) => {
      const image = join(up.cwd, 'reboot.img');
      await execa(MAKE_BOOT_DISK, ['reboot-phase', image, 'DEVICE=/dev/vdb']);
      const boot = `<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='${image}'/>
        <target dev='vda' bus='virtio'/></disk>`;
      const { printed, end } = await attach('files', kind, '--print', 'libvirt');
      const disks = [boot, printed.replace("dev='vda'", "dev='vdb'")];
      const { code, output } = await runDomain({ name: 'files', disks, reboots: true });
      expect(code, output).toBe(0);
      await end();
    },
    6 * MINUTES,
  );
});

describe.skipIf(!HAS_LIBVIRT)('a shell', () => {
  it.each(LONG ? ['--vhost', '--nbd'] : ['--vhost'])(
    'boots a guest from a volume: %s',
    async (kind) => {
      const { printed, end } = await attach(`sh${kind.slice(1)}`, kind, '--print', 'qemu');
      // -no-reboot, or a guest that does not find its disk begins again and again.
      const command = `${printed.trim().replace('-smp 2 -m 2G', '-m 512')} ${QEMU_ENDING}`.replaceAll(
        'size=2G',
        'size=512M',
      );
      const { all } = await execa('timeout', ['-k', '3', '200', 'sh', '-c', command], {
        all: true,
        reject: false,
        stdin: 'ignore',
      });
      expect(all).toMatch(/^RAWSTOR-RESULT: 0\r?$/m);
      await end();
    },
    5 * MINUTES,
  );
});
