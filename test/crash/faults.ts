import type { Random } from '../../src/common/random.js';
import type { Host } from '../interop/namespaces/hosts.js';
import { type Guest, pause } from './guest.js';
import type { LegalValues } from './legal-values.js';
import type { Server } from './server.js';
import { type Machine, type TortureCluster, within } from './torture-cluster.js';

const WHOLE_MS = 90_000;
/** Longer than a client puts up with silence: some of the stops and cuts drop a replica, some do not. */
const LONGEST_MS = 3500;
/** What is left free on a full disk: less than one large write. */
const LEFT_BYTES = 64 * 1024;

/** What can happen to a cluster, drawn at random, and what that makes legal. */
export class Faults {
  readonly counts: Record<string, number> = {};
  readonly history: string[] = [];
  private readonly cluster: TortureCluster;
  private readonly values: LegalValues;
  private readonly random: Random;
  private readonly startedMs = Date.now();
  /** All replicas were in sync when everything was last seen healthy, and nothing has happened since. */
  private whole = false;

  constructor(cluster: TortureCluster, values: LegalValues, random: Random) {
    this.cluster = cluster;
    this.values = values;
    this.random = random;
  }

  /** One fault, sometimes two at once, its end, and sometimes the wait until all is well. */
  async next(guest: Guest): Promise<void> {
    const { random, cluster } = this;
    this.whole = await cluster.whole();
    await this.one(guest);
    this.whole = false;
    if (random.below(4) === 0) await this.one(guest);
    await cluster.heal();
    if (random.below(3) > 0) {
      await within(WHOLE_MS, 'all replicas are in sync', async () => {
        return guest.failure !== null || (await cluster.whole());
      });
    }
    await pause(random.below(1000));
  }

  private async one(guest: Guest): Promise<void> {
    const { random, cluster } = this;
    const kinds: [weight: number, run: () => Promise<void>][] = [
      [5, () => this.kill(this.pick(cluster.servers))],
      [2, () => this.killAll()],
      [4, () => this.freeze(this.pick(cluster.servers))],
      [4, () => this.partition()],
      [3, () => this.powerOfSome([this.pick(cluster.osts)])],
      [1, () => this.powerOfSome(cluster.osts)],
      [1, () => this.powerOfAll()],
      [1, () => this.powerOfMds()],
      [2, () => this.fillDisk(guest)],
    ];
    let at = random.below(kinds.reduce((sum, [weight]) => sum + weight, 0));
    const [, run] = kinds.find(([weight]) => (at -= weight) < 0)!;
    await run();
  }

  private async kill(server: Server): Promise<void> {
    this.note('kill', server.name);
    server.kill();
    await this.aWhile(1500);
  }

  private async killAll(): Promise<void> {
    this.note('killAll', '');
    for (const server of this.cluster.servers) server.kill();
    await this.aWhile(500);
  }

  private async freeze(server: Server): Promise<void> {
    const ms = this.random.below(LONGEST_MS);
    this.note('freeze', `${server.name} for ${ms} ms`);
    server.freeze();
    await pause(ms);
    server.thaw();
  }

  private async partition(): Promise<void> {
    const { cluster, random } = this;
    const one = this.pick(cluster.servers);
    const other = this.pick(cluster.servers.filter((server) => server !== one));
    const ms = random.below(LONGEST_MS);
    const bothWays = random.below(2) === 0;
    this.note(bothWays ? 'partition' : 'partitionOneWay', `${one.name} to ${other.name} for ${ms} ms`);
    const ways: [Host, Host][] = [[one.host, other.host]];
    if (bothWays) ways.push([other.host, one.host]);
    for (const [from, to] of ways) await cluster.cutOff(from, to);
    await pause(ms);
    await cluster.reconnect();
  }

  /** While all others are in sync and well, one that loses what it had not flushed costs nothing. */
  private async powerOfSome(machines: readonly Machine[]): Promise<void> {
    const harmless = this.whole && machines.length === 1;
    const names = machines.map(({ server }) => server.name).join(', ');
    this.note(harmless ? 'powerOfOne' : 'powerOfSome', names);
    await this.cut(machines, !harmless);
  }

  private async powerOfAll(): Promise<void> {
    const { osts, mds, gateways } = this.cluster;
    this.note('powerOfAll', '');
    for (const gateway of gateways) gateway.kill();
    await this.cut([...osts, mds], true);
  }

  private async powerOfMds(): Promise<void> {
    this.note('powerOfMds', '');
    await this.cut([this.cluster.mds], false);
    await this.aWhile(1000);
  }

  private async cut(machines: readonly Machine[], loses: boolean): Promise<void> {
    // The servers are killed when this returns, before anything else happens here.
    const cut = this.cluster.cutPower(machines);
    if (loses) this.values.loss();
    await cut;
  }

  private async fillDisk(guest: Guest): Promise<void> {
    const { server, disk } = this.pick(this.cluster.osts);
    // Of one that a fault has already taken, nobody would notice.
    if (!this.whole) return;
    this.note('fillDisk', server.name);
    guest.mayBeFull = true;
    await disk.fill(LEFT_BYTES);
    await this.aWhile(2000);
    await disk.free();
  }

  private note(kind: string, what: string): void {
    this.counts[kind] = (this.counts[kind] ?? 0) + 1;
    this.history.push(`  ${((Date.now() - this.startedMs) / 1000).toFixed(1)} s ${kind} ${what}`);
  }

  private pick<T>(from: readonly T[]): T {
    return from[this.random.below(from.length)]!;
  }

  private aWhile(longestMs: number): Promise<void> {
    return pause(this.random.below(longestMs));
  }
}
