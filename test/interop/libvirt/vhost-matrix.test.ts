import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ok } from '../cli/outcome.js';
import { begin, UpCluster, until } from '../cli/programs.js';
import { done } from '../cli/servers.js';
import { Domain } from './domain.js';
import { HAS_LIBVIRT, Libvirtd } from './libvirtd.js';

/** The XML that `attach --vhost --print libvirt` prints, with rings and memory of every kind. Without libvirt: test/interop/guest. */

const MINUTES = 60_000;
const LONG = process.env.RAWSTOR_TEST_LONG === '1';
/** Queues, kind of ring, MiB of memory: all of it below 4 GiB, or a part above. */
const ALL = [1, 4].flatMap((queues) =>
  ['split', 'packed'].flatMap((ring) =>
    [512, 8192].map((memoryMiB): [number, string, number] => [queues, ring, memoryMiB]),
  ),
);
const MACHINES: typeof ALL = LONG ? ALL : [[4, 'packed', 512]];
let up: UpCluster;
let libvirtd: Libvirtd;

/** @returns the disk as it is printed, and who ends its server */
async function serve(volume: string): Promise<{ disk: string; end(): Promise<void> }> {
  const socket = join(up.cwd, `${volume}.vhost`);
  const server = begin('cli/rawstor', ['vhost', volume, '--socket-path', socket], { cwd: up.cwd });
  let said = '';
  server.stderr!.on('data', (bytes: Buffer) => {
    said += bytes.toString();
  });
  await until(() => said.includes('"ready"'));
  const disk = ok(await up.volume('attach', volume, '--vhost', '--socket', socket, '--print', 'libvirt'));
  const end = async () => {
    server.kill('SIGTERM');
    await server;
  };
  return { disk, end };
}

/** What libvirt's XML says of rings, beside what is printed. */
function withRings(disk: string, queues: number, ring: string): string {
  const driver = `<driver name='qemu' type='raw' queues='${queues}'${ring === 'packed' ? " packed='on'" : ''}/>`;
  const changed = disk.replace(/<!--.*-->/, '').replace(/<driver [^>]*>/, driver);
  if (!changed.includes(driver)) throw new Error(`there is no driver in ${disk}`);
  return changed;
}

describe.skipIf(!HAS_LIBVIRT)('a domain on a volume over vhost-user', () => {
  beforeAll(async () => {
    up = await UpCluster.start(['--no-volume']);
    libvirtd = await Libvirtd.start(up.cwd);
  }, 2 * MINUTES);

  afterAll(async () => {
    await libvirtd?.stop();
    await up?.remove();
  }, MINUTES);

  it.each(MACHINES)(
    `writes files, is reset without unmounting, and finds them whole: %i queues, %s, %i MiB${LONG ? ' (long)' : ''}`,
    async (queues, ring, memoryMiB) => {
      const name = `q${queues}-${ring}-${memoryMiB}`;
      await done(up.volume('create', name, '--size', '1G', '--replicas', '2'));
      const { disk, end } = await serve(name);
      const domain = await Domain.start(libvirtd, up.cwd, {
        name,
        disks: [withRings(disk, queues, ring)],
        scenario: 'reboot-phase',
        reboots: true,
        memoryMiB,
        cpus: Math.max(2, queues),
      });
      const code = await domain.ends();
      const log = await libvirtd.run('tail', '-n', '20', `/var/log/libvirt/qemu/${name}.log`);
      const reason = await domain.virsh('domstate', '--reason');
      expect(code, `${reason}\n${domain.said}\n${log.stdout}\n${await libvirtd.log()}`).toBe(0);
      // What is said right before a reset may not get out.
      expect(domain.said).toMatch(/SUMS.*after the reboot/s);
      await domain.virsh('undefine');
      await end();
      await done(up.volume('rm', name, '-y'));
    },
    8 * MINUTES,
  );
});
