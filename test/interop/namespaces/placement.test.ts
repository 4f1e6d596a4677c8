import { join } from 'node:path';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Cluster } from '../../../src/client/index.js';
import { systemClock } from '../../../src/common/clock.js';
import { silentLogger } from '../../../src/common/log.js';
import { MiB } from '../../../src/common/units.js';
import { createIo, type Io } from '../../../src/io/index.js';
import { ok } from '../cli/outcome.js';
import { type Outcome, until } from '../cli/programs.js';
import { canMakeNamespaces, type Host, Hosts } from './hosts.js';

/** Where replicas go, and what goes over the network, in a cluster of three hosts with links of their own. */

const MINUTES = 60_000;
const MDS = '10.77.0.254:7771';
/** Disk of each host; the third one's is two disks. Shares of the whole: 4, 5 and 6 of 15. */
const NAMES = ['h1', 'h2', 'h3'] as const;
const DISK_MIB = { h1: 4096, h2: 5120, h3: 6144 };
const ALL_MIB = 15_360;
const CHUNKS = 3000;

let io: Io;
let cluster: Cluster;
let hosts: Hosts;
let h1: Host;
let h2: Host;

const at = ['--location', MDS];
const volume = (...args: string[]): Promise<Outcome> =>
  hosts.middle.run('cli/rawstor-volume', ...args, ...at);

async function create(name: string, ...options: string[]): Promise<void> {
  ok(await volume('create', name, ...options));
}

/** Host of each replica of each chunk. */
async function placement(name: string): Promise<string[][]> {
  const { osts } = await cluster.mds.call('mds.listOsts', {});
  const hostOf = new Map(osts.map((ost) => [ost.ostId, ost.labels.host!]));
  const found: string[][] = [];
  for (;;) {
    const part = { ref: name, fromChunk: found.length, count: CHUNKS };
    const { chunks } = await cluster.mds.call('mds.getObjPart', part);
    if (chunks.length === 0) return found;
    for (const ostIds of chunks) found.push(ostIds.map((id) => hostOf.get(id)!));
  }
}

function uri(host: Host, name: string): string {
  return `nbd+unix:///${name}?socket=${join(host.dir, 'nbd.sock')}`;
}

describe.skipIf(!(await canMakeNamespaces()))('three hosts', () => {
  beforeAll(async () => {
    hosts = await Hosts.start(3);
    [h1, h2] = hosts.all as [Host, Host, Host];
    const socket = `unix:${join(hosts.middle.dir, 'mds.sock')}`;
    await hosts.middle.serve('mds/main', '--dir', 'mds', '--listen', MDS, '--listen', socket);
    io = createIo({ poolBytes: 4 * MiB });
    const known = { location: socket, io, clock: systemClock, log: silentLogger, name: 'test' };
    cluster = await Cluster.connect(known);
    await Promise.all(hosts.all.map((host, i) => serve(host, NAMES[i]!)));
    await until(async () => (await cluster.mds.call('mds.listOsts', {})).osts.length === 4);
  }, 2 * MINUTES);

  afterAll(async () => {
    await cluster?.close();
    await io?.close();
    await hosts?.end();
  }, MINUTES);

  /** The first host has all in one process, the second a process for each, the third two disks. */
  async function serve(host: Host, label: (typeof NAMES)[number]): Promise<void> {
    const common = [
      '--mds',
      MDS,
      '--label',
      `host=${label}`,
      '--label',
      `rack=${label === 'h3' ? 'b' : 'a'}`,
    ];
    const nbd = `unix:${join(host.dir, 'nbd.sock')}`;
    const [here, more] = [`${host.address}:7777`, `${host.address}:7778`];
    if (label === 'h1') {
      const dir = await host.mountDisk('disk', DISK_MIB.h1);
      const args = ['--dir', dir, '--listen', here, '--nbd-listen', nbd, ...common];
      await host.serve('cli/rawstor', 'serve', 'node', ...args);
    } else if (label === 'h2') {
      const dir = await host.mountDisk('disk', DISK_MIB.h2);
      await host.serve('ost/main', '--dir', dir, '--listen', here, ...common);
      await host.serve('nbd-server/main', '--listen', nbd, '--mds', MDS, '--label', 'host=h2');
    } else {
      for (const address of [here, more]) {
        const dir = await host.mountDisk(address.slice(-4), DISK_MIB.h3 / 2);
        await host.serve('ost/main', '--dir', dir, '--listen', address, ...common);
      }
    }
  }

  it.each([
    { name: 'h1', how: 'in its own process' },
    { name: 'h2', how: 'by its host label' },
  ] as const)(
    'a volume near $name is read there without a byte over the link: the replica is found $how',
    async ({ name }) => {
      const host = name === 'h1' ? h1 : h2;
      await create(`near-${name}`, '--size', '64M', '--near', name, '--replicas', '2');
      const [[first, second], ...others] = (await placement(`near-${name}`)) as [[string, string]];
      expect(first).toBe(name);
      expect(second).not.toBe(name);
      expect(others).toEqual([]);
      const place = ['--ioengine=nbd', `--uri=${uri(host, `near-${name}`)}`, '--size=64M'];
      const load = [...place, '--bs=256k', '--iodepth=8', '--verify=crc32c', '--rw=write'];
      const idle = host.linkBytes();
      await execa('fio', ['--name=write', ...load, '--do_verify=0'], { cwd: host.dir });
      // The other replica was written: this counter sees what goes over the link.
      const before = host.linkBytes();
      expect(before - idle).toBeGreaterThan(64 * MiB);
      await execa('fio', ['--name=read', ...load, '--verify_only'], { cwd: host.dir });
      const again = ['--rw=randread', '--bs=256k', '--iodepth=8', '--io_size=192M'];
      await execa('fio', ['--name=read', ...place, ...again], { cwd: host.dir });
      // Signs of life and the lease, no payload: under a hundredth of the 256 MiB read.
      expect(host.linkBytes() - before).toBeLessThan(2.5 * MiB);
    },
    MINUTES,
  );

  it(
    'a volume striped over all is spread by the weight of free space, and no chunk has two replicas on a host',
    async () => {
      const size = ['--size', `${CHUNKS}M`, '--chunk-size', '1M', '--stripe-width', 'all'];
      for (const replicas of [1, 2]) {
        await create(`wide-${replicas}`, ...size, '--replicas', String(replicas));
        const chunks = await placement(`wide-${replicas}`);
        expect(chunks).toHaveLength(CHUNKS);
        for (const [i, on] of chunks.entries()) {
          expect(on, `chunk ${i}`).toHaveLength(replicas);
          expect(new Set(on).size, `chunk ${i}: ${on}`).toBe(replicas);
        }
        for (const [host, diskMiB] of Object.entries(DISK_MIB)) {
          const share = chunks.flat().filter((on) => on === host).length / chunks.flat().length;
          const weight = diskMiB / ALL_MIB;
          expect(Math.abs(share / weight - 1), `${host} has ${share}, its weight is ${weight}`).toBeLessThan(
            0.2,
          );
        }
      }
      await create('wide-near', ...size, '--replicas', '2', '--near', 'h2');
      const near = await placement('wide-near');
      expect(near.every(([first, second]) => first === 'h2' && second !== 'h2')).toBe(true);
      expect(new Set(near.map(([, second]) => second)).size).toBe(2);
    },
    MINUTES,
  );

  it('a stripe width of one uses one set', async () => {
    await create('narrow', '--size', `${CHUNKS}M`, '--chunk-size', '1M', '--stripe-width', '1');
    const sets = new Set((await placement('narrow')).map((on) => on.join()));
    expect(sets.size).toBe(1);
  });

  it.each([
    {
      why: 'more racks than there are',
      options: ['--replicas', '3', '--failure-domain', 'rack'],
      says: /rack/,
    },
    { why: 'a wider stripe than there are OSTs', options: ['--stripe-width', '5'], says: /over 5 OSTs/ },
    {
      why: 'a host that is not there',
      options: ['--near', 'h9'],
      says: /'h9'.*hosts with OSTs: h1, h2, h3/s,
    },
  ])('is refused, and nothing is made of it: $why', async ({ options, says }) => {
    const refused = await volume('create', 'impossible', '--size', '64M', ...options);
    expect(refused.code, refused.stderr).toBe(73);
    expect(refused.stderr).toMatch(says);
    const { objects } = await cluster.mds.call('mds.list', { after: '', limit: 100 });
    expect(objects.map((object) => object.name)).not.toContain('impossible');
  });
});
