import { mkdtempSync, writeFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { Cluster, type Volume } from '../../../src/client/index.js';
import { systemClock } from '../../../src/common/clock.js';
import { RawstorError } from '../../../src/common/errors.js';
import { silentLogger } from '../../../src/common/log.js';
import { MiB } from '../../../src/common/units.js';
import { createIo, type Io } from '../../../src/io/index.js';
import { DEFAULT_LEASE_TIMES, type RunningMds, startMds } from '../../../src/mds/index.js';
import { type DiskKind, TortureDisk } from '../../crash/disk.js';
import { Server } from '../../crash/server.js';
import { until } from '../client/rig.js';
import { Host } from '../namespaces/hosts.js';

/** Metadata and sockets: nothing here is about how they survive. */
const MEMORY = '/dev/shm';
const BOOT_ID = '/proc/sys/kernel/random/boot_id';
const clock = systemClock;
const log = silentLogger;

interface Machine {
  readonly host: Host;
  readonly disk: TortureDisk;
  readonly server: Server;
  boots: number;
}

/** A client and an MDS in this process, and two OSTs that may be killed, each on a file system of its own whose power can be cut. */
export class DiskCluster {
  readonly io: Io = createIo({ poolBytes: 64 * MiB });
  cluster!: Cluster;
  private readonly dir = mkdtempSync(join(MEMORY, 'rawstor-life-'));
  private readonly machines: Machine[] = [];
  private mds!: RunningMds;

  static async start(kind: DiskKind): Promise<DiskCluster> {
    const made = new DiskCluster();
    await made.startMds();
    for (const i of [0, 1]) await made.addMachine(i, kind);
    const { io, mdsAddress: location } = made;
    // An open after a crash waits for so long.
    const confirmMs = 100;
    made.cluster = await Cluster.connect({ location, io, clock, log, name: 'history', confirmMs });
    await until(async () => (await made.cluster.mds.call('mds.listOsts', {})).osts.length === 2);
    return made;
  }

  async end(): Promise<void> {
    await this.cluster.close();
    for (const { server, host, disk } of this.machines) {
      await server.stop();
      await host.end();
      disk.remove();
    }
    await this.mds.close();
    await this.io.close();
    await rm(this.dir, { recursive: true, force: true });
  }

  /** As if its process had been killed: no seal, no close. */
  forget(volume: Volume): void {
    const killed = new RawstorError('UNAVAILABLE', 'killed by the test');
    (volume as unknown as { fail(error: RawstorError): void }).fail(killed);
  }

  async restartMds(): Promise<void> {
    await this.mds.close();
    await this.startMds();
  }

  async killOst(index: number): Promise<void> {
    const { server } = this.machines[index]!;
    server.kill();
    await server.start();
  }

  /** What was never synced is gone, at the same moment on all of them. */
  async losePower(...indices: number[]): Promise<void> {
    const machines = indices.map((index) => this.machines[index]!);
    for (const { server } of machines) server.kill();
    await Promise.all(machines.map(({ disk }) => disk.cutPower()));
    for (const machine of machines) {
      await machine.server.ended();
      await machine.disk.powerOn();
      machine.boots++;
      this.noteBoot(machine);
    }
    await Promise.all(machines.map(({ server }) => server.start()));
  }

  private get mdsAddress(): string {
    return `unix:${this.dir}/mds.sock`;
  }

  private async startMds(): Promise<void> {
    const { io, mdsAddress: listen } = this;
    // Who was killed holds its lease for so long.
    const leaseTimes = { ...DEFAULT_LEASE_TIMES, leaseMs: 3000, lostGraceMs: 10, restartMs: 1500 };
    this.mds = await startMds({ dir: join(this.dir, 'mds'), listen, io, clock, log, leaseTimes });
  }

  private async addMachine(index: number, kind: DiskKind): Promise<void> {
    const host = new Host(join(this.dir, `h${index}`), '');
    await host.ready();
    const disk = await TortureDisk.make(host, 'disk', kind);
    const listen = ['--listen', `unix:${host.dir}/ost.sock`, '--mds', this.mdsAddress];
    const args = ['--dir', join(disk.path, 'ost'), ...listen, '--label', `host=h${index}`];
    const server = new Server(`ost${index}`, host, 'ost/main', args, null);
    const machine = { host, disk, server, boots: 1 };
    this.machines.push(machine);
    this.noteBoot(machine);
    await host.command('mount', '--bind', join(host.dir, 'boot-id'), BOOT_ID);
    await server.start();
  }

  /** Another kernel than before, as after any boot. */
  private noteBoot({ host, boots }: Machine): void {
    writeFileSync(join(host.dir, 'boot-id'), `${host.pid}-boot-${boots}\n`);
  }
}
