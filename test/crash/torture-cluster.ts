import { closeSync, fstatSync, openSync, readdirSync, readFileSync, readSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Cluster } from '../../src/client/index.js';
import { systemClock } from '../../src/common/clock.js';
import { formatId } from '../../src/common/ids.js';
import { silentLogger } from '../../src/common/log.js';
import type { Random } from '../../src/common/random.js';
import { MiB } from '../../src/common/units.js';
import { createIo, type Io } from '../../src/io/index.js';
import { until } from '../interop/cli/programs.js';
import { type Host, Hosts } from '../interop/namespaces/hosts.js';
import { type DiskKind, TortureDisk } from './disk.js';
import { pause } from './guest.js';
import { type LegalValues, SECTOR_BYTES } from './legal-values.js';
import { Server } from './server.js';

const BOOT_ID = '/proc/sys/kernel/random/boot_id';
const MDS_PORT = 7771;
const OST_PORT = 7777;

export interface TortureOptions {
  readonly osts: number;
  readonly gateways: number;
  readonly disk: DiskKind;
  readonly random: Random;
  readonly diskSizeMiB?: number;
  /** Of another build than this one's. */
  readonly root?: string;
}

/** A server and what it keeps its data on. */
export interface Machine {
  readonly server: Server;
  readonly disk: TortureDisk;
}

export const VOLUME = 'vm';

/**
 * A cluster of real processes, one on each of a few hosts with networks, disks and kernel boot ids of their
 * own. Anything can be killed, stopped, cut off or lose its power.
 */
export class TortureCluster {
  readonly hosts: Hosts;
  readonly osts: Machine[] = [];
  readonly gateways: Server[] = [];
  mds!: Machine;
  private readonly random: Random;
  private readonly io: Io = createIo({ poolBytes: 4 * MiB });
  private client!: Cluster;

  private constructor(hosts: Hosts, random: Random) {
    this.hosts = hosts;
    this.random = random;
  }

  static async start(options: TortureOptions): Promise<TortureCluster> {
    const cluster = new TortureCluster(
      await Hosts.start(options.osts + options.gateways + 1),
      options.random,
    );
    try {
      await cluster.build(options);
      return cluster;
    } catch (error) {
      await cluster.end();
      throw error;
    }
  }

  get servers(): Server[] {
    return [this.mds.server, ...this.osts.map((ost) => ost.server), ...this.gateways];
  }

  socketPath(gateway = 0): string {
    return join(this.gateways[gateway]!.host.dir, 'nbd.sock');
  }

  async createVolume(spec: object): Promise<void> {
    const usual = { minReplicas: 1, stripeWidth: 1, failureDomain: 'host', near: null, onDegraded: 'pause' };
    await this.client.mds.call('mds.createObject', { name: VOLUME, ...usual, ...spec } as never);
  }

  volume() {
    return this.client.mds.call('mds.getObj', { ref: VOLUME }, 5000);
  }

  /** Every replica is in sync. */
  async whole(): Promise<boolean> {
    const volume = await this.volume().catch(() => null);
    return volume?.members.every((member) => member.state === 'in-sync') ?? false;
  }

  /**
   * The power of some machines fails in one moment. Their servers are to be started again, which finds another
   * kernel boot id, as after any boot.
   */
  async cutPower(machines: readonly Machine[]): Promise<void> {
    for (const { server } of machines) server.kill();
    await Promise.all(machines.map(({ disk }) => disk.cutPower()));
    await Promise.all(
      machines.map(async ({ server, disk }) => {
        await server.ended();
        await disk.powerOn();
        this.newBootId(server.host);
      }),
    );
  }

  /** Packets from one host to another are dropped. */
  async cutOff(from: Host, to: Host): Promise<void> {
    await to.command('iptables', '-A', 'INPUT', '-s', from.address, '-j', 'DROP');
  }

  async reconnect(): Promise<void> {
    await Promise.all(this.servers.map(({ host }) => host.command('iptables', '-F')));
  }

  /** Everything runs and hears each other again. */
  async heal(): Promise<void> {
    await this.reconnect();
    for (const server of this.servers) if (server.frozen) server.thaw();
    for (const { disk } of this.osts) await disk.free();
    const start = (server: Server) => (server.running ? null : server.start());
    // A gateway that finds no metadata server ends, for its supervisor to start it again.
    await start(this.mds.server);
    await all(this.servers.slice(1).map(start));
  }

  /** A clean end of all who have data in hand, gateways first. */
  async stopIo(): Promise<void> {
    for (const server of [...this.gateways, ...this.osts.map((ost) => ost.server)]) await server.stop();
  }

  /** Holds the chunk files of the volume's replicas against each other and against what is legal. */
  async compareReplicas(values: LegalValues): Promise<void> {
    const { id, members, chunkSizeBytes, sizeBytes, map, replicas, headVersion } = await this.volume();
    const dirs = new Map(this.osts.map(({ disk }) => [ostIdOf(disk), join(disk.pathOutside, 'ost/chunks')]));
    const bytes = Buffer.alloc(MiB);
    const others = Buffer.alloc(MiB);
    const inSync = members.filter((member) => member.state === 'in-sync').map((member) => member.ostId);
    for (let chunk = 0; chunk * chunkSizeBytes < sizeBytes; chunk++) {
      const part = { ref: VOLUME, fromChunk: chunk, count: 1 };
      const [on] =
        map.pool.length === replicas ? [inSync] : (await this.client.mds.call('mds.getObjPart', part)).chunks;
      const files = on!.map((ostId) => join(dirs.get(ostId)!, id.slice(-2), id, `${chunk}.${headVersion}`));
      for (let at = 0; at < Math.min(chunkSizeBytes, sizeBytes - chunk * chunkSizeBytes); at += MiB) {
        readAt(files[0]!, at, bytes);
        values.check((chunk * chunkSizeBytes + at) / SECTOR_BYTES, bytes, files[0]!);
        for (const file of files.slice(1)) {
          readAt(file, at, others);
          if (!bytes.equals(others))
            throw new Error(`${file} is not as ${files[0]} from ${at + differAt(bytes, others)} on`);
        }
      }
    }
  }

  async end(): Promise<void> {
    await this.client?.close();
    const servers = [this.mds?.server, ...this.osts.map((ost) => ost.server), ...this.gateways];
    for (const server of servers) server?.kill();
    await Promise.all(servers.map((server) => server?.ended()));
    await this.io.close();
    await this.hosts.end();
    for (const machine of [this.mds, ...this.osts]) machine?.disk.remove();
  }

  private async build(options: TortureOptions): Promise<void> {
    const [mdsHost, ...hosts] = this.hosts.all as [Host, ...Host[]];
    const root = options.root ?? null;
    const mds = `${mdsHost.address}:${MDS_PORT}`;
    const socket = `unix:${join(mdsHost.dir, 'mds.sock')}`;
    const ownMachine = async (
      host: Host,
      name: string,
      program: string,
      args: string[],
    ): Promise<Machine> => {
      const disk = await TortureDisk.make(host, 'disk', options.disk, options.diskSizeMiB);
      this.newBootId(host);
      await host.command('mount', '--bind', join(host.dir, 'boot-id'), BOOT_ID);
      return { disk, server: new Server(name, host, program, args, root) };
    };
    const mdsArgs = ['--dir', 'disk/mds', '--listen', mds, '--listen', socket];
    this.mds = await ownMachine(mdsHost, 'mds', 'mds/main', mdsArgs);
    for (const [i, host] of hosts.slice(0, options.osts).entries()) {
      const address = `${host.address}:${OST_PORT}`;
      const args = ['--dir', 'disk/ost', '--listen', address, '--mds', mds, '--label', `host=h${i + 1}`];
      this.osts.push(await ownMachine(host, `ost-${i + 1}`, 'ost/main', args));
    }
    for (const [i, host] of hosts.slice(options.osts).entries()) {
      const args = ['--listen', `unix:${join(host.dir, 'nbd.sock')}`, '--mds', mds];
      this.gateways.push(new Server(`nbd-${i + 1}`, host, 'nbd-server/main', args, root));
    }
    await this.mds.server.start();
    await all(this.servers.slice(1).map((server) => server.start()));
    const known = { location: socket, io: this.io, clock: systemClock, log: silentLogger, name: 'torture' };
    this.client = await Cluster.connect(known);
    await until(async () => (await this.client.mds.call('mds.listOsts', {})).osts.length === options.osts);
  }

  private newBootId(host: Host): void {
    const bytes = Buffer.from(Array.from({ length: 16 }, () => this.random.below(256)));
    // In place: the file is mounted over the kernel's.
    writeFileSync(join(host.dir, 'boot-id'), `${formatId(bytes)}\n`);
  }
}

/** As Promise.all, but nothing is left under way when one fails. */
async function all(work: readonly (Promise<void> | null)[]): Promise<void> {
  await Promise.allSettled(work);
  await Promise.all(work);
}

export function ostIdOf(disk: TortureDisk): string {
  const text = readFileSync(join(disk.pathOutside, 'ost/rawstor-ost.json'), 'utf8');
  return (JSON.parse(text) as { serverId: string }).serverId;
}

export function chunkFiles(disk: TortureDisk): string[] {
  const entries = readdirSync(join(disk.pathOutside, 'ost/chunks'), { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => entry.isFile() && /^\d+\.\d+$/.test(entry.name))
    .map((entry) => join(entry.parentPath, entry.name).slice(disk.pathOutside.length + 1));
}

/** What a file lacks at its end, or altogether, counts as zeros. */
function readAt(file: string, at: number, into: Buffer): void {
  into.fill(0);
  let descriptor: number;
  try {
    descriptor = openSync(file, 'r');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
    throw error;
  }
  if (fstatSync(descriptor).size > at) readSync(descriptor, into, 0, into.length, at);
  closeSync(descriptor);
}

function differAt(one: Buffer, other: Buffer): number {
  return one.findIndex((byte, i) => byte !== other[i]);
}

/** @throws with what `tell` says when it does not come in time */
export async function within(
  timeoutMs: number,
  what: string,
  condition: () => boolean | Promise<boolean>,
): Promise<void> {
  const giveUpMs = Date.now() + timeoutMs;
  while (!(await condition())) {
    if (Date.now() > giveUpMs) throw new Error(`not within ${timeoutMs} ms: ${what}`);
    await pause(100);
  }
}
