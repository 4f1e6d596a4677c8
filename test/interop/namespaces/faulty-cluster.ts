import { join } from 'node:path';
import { Cluster } from '../../../src/client/index.js';
import { systemClock } from '../../../src/common/clock.js';
import { silentLogger } from '../../../src/common/log.js';
import { MiB } from '../../../src/common/units.js';
import { createIo, type Io } from '../../../src/io/index.js';
import { until } from '../cli/programs.js';
import { type Host, Hosts } from './hosts.js';

const MDS = '10.77.0.254:7771';

/** Ways to lose an OST. */
export const FAULTS = ['kill', 'stop', 'drop'] as const;
export type Fault = (typeof FAULTS)[number];

/** Three hosts with an OST each, and one with the MDS and the gateway, whose OSTs can be lost in several ways. */
export class FaultyCluster {
  readonly hosts: Hosts;
  cluster!: Cluster;
  private io!: Io;
  /** Process of each host's OST. */
  private readonly pids: number[] = [];

  private constructor(hosts: Hosts) {
    this.hosts = hosts;
  }

  /** `dirs`: where the OSTs keep their data; default: folders of the test. */
  static async start(): Promise<FaultyCluster> {
    const faulty = new FaultyCluster(await Hosts.start(3));
    try {
      await faulty.serve();
      return faulty;
    } catch (error) {
      await faulty.end();
      throw error;
    }
  }

  /** NBD address of the gateway. */
  get nbd(): string {
    return `unix:${join(this.hosts.middle.dir, 'nbd.sock')}`;
  }

  /** A volume with a replica on every host. */
  async create(name: string, sizeBytes: number): Promise<void> {
    await this.cluster.mds.call('mds.createObject', {
      name,
      sizeBytes,
      chunkSizeBytes: 256 * MiB,
      replicas: 3,
      minReplicas: 1,
      stripeWidth: 1,
      failureDomain: 'host',
      near: null,
      onDegraded: 'pause',
    });
  }

  /** How many replicas are in sync, as the MDS has it. */
  async inSync(name: string): Promise<number> {
    const { members } = await this.cluster.mds.call('mds.getObj', { ref: name });
    return members.filter((member) => member.state === 'in-sync').length;
  }

  async lose(index: number, fault: Fault): Promise<void> {
    const host = this.hosts.all[index]!;
    if (fault === 'kill') process.kill(this.pids[index]!, 'SIGKILL');
    else if (fault === 'stop') process.kill(this.pids[index]!, 'SIGSTOP');
    else for (const chain of ['INPUT', 'OUTPUT']) await host.command('iptables', '-I', chain, '-j', 'DROP');
  }

  async bringBack(index: number, fault: Fault): Promise<void> {
    const host = this.hosts.all[index]!;
    if (fault === 'kill') await this.startOst(host, index);
    else if (fault === 'stop') process.kill(this.pids[index]!, 'SIGCONT');
    else for (const chain of ['INPUT', 'OUTPUT']) await host.command('iptables', '-D', chain, '-j', 'DROP');
  }

  async end(): Promise<void> {
    await this.cluster?.close();
    await this.io?.close();
    await this.hosts.end();
  }

  private async serve(): Promise<void> {
    const { middle, all } = this.hosts;
    const socket = `unix:${join(middle.dir, 'mds.sock')}`;
    await middle.serve('mds/main', '--dir', 'mds', '--listen', MDS, '--listen', socket);
    this.io = createIo({ poolBytes: 4 * MiB });
    this.cluster = await Cluster.connect({
      location: socket,
      io: this.io,
      clock: systemClock,
      log: silentLogger,
      name: 'test',
    });
    await Promise.all(all.map((host, index) => this.startOst(host, index)));
    await until(async () => (await this.cluster.mds.call('mds.listOsts', {})).osts.length === 3);
    await middle.serve('nbd-server/main', '--listen', this.nbd, '--mds', MDS);
  }

  private async startOst(host: Host, index: number): Promise<void> {
    this.pids[index] = await host.serve(
      'ost/main',
      ...['--dir', join(host.dir, 'ost'), '--listen', `${host.address}:7777`, '--mds', MDS],
      ...['--label', `host=h${index + 1}`],
    );
  }
}
