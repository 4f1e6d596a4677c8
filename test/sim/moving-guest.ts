import { BlockOp, BlockRequest } from '../../src/block/device.js';
import { MovableVolume } from '../../src/client/hand-over/index.js';
import type { Volume } from '../../src/client/index.js';
import { openVolume } from '../../src/client/open.js';
import type { OpenVolumeOptions } from '../../src/client/open-options.js';
import { asRawstorError, RawstorError } from '../../src/common/errors.js';
import { heapMemory } from '../../src/io/memory.js';
import { DEFAULT_LEASE_TIMES } from '../../src/mds/leases.js';
import { bothWays, cutFor } from './faults.js';
import { Guest } from './guest.js';
import { GuestRequest } from './guest-request.js';
import { BLOCK_BYTES } from './oracle.js';
import { SimProcess } from './process.js';

/** A gateway that has its guest's disk, or stands by for it. */
interface Side {
  readonly process: SimProcess;
  readonly machine: string;
  readonly holder: string;
  device: MovableVolume | null;
  /** When its lease was renewed last. */
  renewedMs: number;
  /** The guest was there, and might ask for the volume. */
  ran: boolean;
  /** That it opened last. */
  volume: Volume | null;
}

/** How long a guest waits for its last requests before it is stopped after all. */
const STOP_LIMIT_MS = 20_000;
const LEASE_MS = DEFAULT_LEASE_TIMES.leaseMs;
const BETWEEN_MS = [300, 5000] as const;

/**
 * A virtual machine that is moved between two machines all along, as by a live migration: the gateway there stands by
 * and serves reads, the guest stops here and goes on there; or the move fails, and it goes on here.
 */
export class MovingGuest extends Guest {
  /** How its gateways know that it has stopped: they are told (vhost-user), or judge by its requests (NBD). */
  private readonly tellsStops: boolean;
  private here: Side | null = null;
  private there: Side | null = null;
  /** Who stood by last, also when it has ended: what it took is noticed here only with the next answer. */
  private last: Side | null = null;
  private stopped = false;
  private moving = false;
  private planned = false;
  private closing = false;
  private sides = 0;

  constructor(...args: ConstructorParameters<typeof Guest>) {
    super(...args);
    this.tellsStops = this.cluster.world.chance(0.5);
  }

  override get volume(): Volume | null {
    return this.here?.device?.holds === true ? this.here.volume : null;
  }

  /** One that only stands by now would ask for it back. */
  override wasBefore(): boolean {
    return this.here !== null;
  }

  protected override get ready(): boolean {
    return this.here !== null && !this.stopped;
  }

  override get settled(): boolean {
    return !this.moving;
  }

  override stop(): void {
    super.stop();
    this.fetch();
  }

  /** To the end: who stands by has the volume with its first change only. */
  private fetch(): void {
    if (!this.alive || this.closing) return;
    if (this.volume === null && !this.opening && this.ready && this.idle) this.flush();
    this.cluster.world.post(500, null, '', () => this.fetch());
  }

  override open(): void {
    if (this.cluster.former.includes(this) && !this.hasOpened) return this.die();
    const { process, name, holder } = this;
    this.opening = true;
    const side: Side = {
      process,
      machine: name,
      holder,
      device: null,
      volume: null,
      renewedMs: 0,
      ran: true,
    };
    this.openSide(side, this.takesOver && !this.hasOpened).then(
      () => {
        if (!process.alive || process !== this.process) return;
        // Another came meanwhile: whose turn it is has been decided.
        if (this.cluster.former.includes(this) && !side.device!.holds) return this.die();
        this.here = side;
        this.stopped = false;
        side.device!.rest(false);
        this.begin();
        if (!this.planned) this.plan();
      },
      (error) => this.cannotOpen(process, error),
    );
  }

  override async close(): Promise<void> {
    this.closing = true;
    await this.here!.device!.close();
  }

  /** Whoever took it by force does not want it asked back; and who came last insists. */
  override supersede(): void {
    const { cluster } = this;
    if (cluster.guest !== this) {
      super.supersede();
      return this.die();
    }
    cluster.world.count('overtaken');
    cluster.endFormer();
    this.takesOver = true;
    this.hasOpened = false;
    this.restartGateway();
  }

  protected override send(block: BlockRequest): void {
    this.here!.device!.submit(block);
  }

  protected override killGateway(): void {
    super.killGateway();
    this.here = null;
    this.there?.process.kill();
    this.there = null;
  }

  private async openSide(side: Side, force: boolean): Promise<void> {
    const { env, link } = this.client(side.process);
    const { holder } = side;
    const { world } = this.cluster;
    const call = link.call.bind(link);
    link.call = async (method, params, timeoutMs) => {
      const askedMs = world.nowMs;
      const answer = await call(method, params, timeoutMs);
      // What a reader has heard may be old when it acts on it.
      const isHeld = method === 'mds.getObj' && side !== this.here && world.chance(0.1);
      if (isHeld) await this.sleep(world.between(20, 2500));
      if (method === 'mds.renew' || method === 'mds.open') side.renewedMs = askedMs;
      return answer;
    };
    let forces = force;
    const open = async (ref: string, options: OpenVolumeOptions) => {
      // Once: what is asked back later is not taken by force.
      const how = { ...options, timeoutMs: 5000, ...(forces ? { force: true } : {}) };
      forces = false;
      const volume = await openVolume(env, link as never, ref, how, holder);
      side.volume = volume;
      if (side.process.alive && (side === this.here || side.process === this.process)) this.hasVolume(volume);
      return volume;
    };
    const more = { mds: link as never, openVolume: open, cipher: null };
    const options = { holder, standby: true, tellsStops: this.tellsStops };
    const device = await MovableVolume.open({ ...env, ...more }, 'v', options);
    device.onFatal = (error) => this.ended(side, error);
    side.device = device;
  }

  private ended(side: Side, error: RawstorError): void {
    if (!side.process.alive) return;
    const { world } = this.cluster;
    if (side === this.here) {
      const { last } = this;
      const lapsed = last?.ran === true || world.nowMs - side.renewedMs > LEASE_MS;
      const byStandby = last !== null && last !== side && this.cluster.holder === last.holder;
      if (error.code !== 'FENCED' || !lapsed || !byStandby) return this.fatal(error);
      // Not heard of by the MDS, it could not be asked; and the guest was there, or nobody could know that it still runs.
      world.count('fencedByStandby');
      return this.restartGateway();
    }
    world.count(`standby ended ${error.code}`);
    if (error.code === 'INTERNAL') world.fail(`standby: ${error.stack}`);
    side.process.kill();
  }

  private plan(): void {
    this.planned = true;
    const { world } = this.cluster;
    world.post(world.between(...BETWEEN_MS), null, '', () => {
      const { cluster, here } = this;
      if (!this.alive || cluster.calm) return;
      if (here !== null && !this.opening && cluster.guest === this) {
        this.moving = true;
        this.move(here)
          .catch((error) => world.fail(`a move: ${error.stack}`))
          .finally(() => {
            this.moving = false;
            this.there = null;
            this.plan();
          });
      } else this.plan();
    });
  }

  private async move(from: Side): Promise<void> {
    const { cluster } = this;
    const { world } = cluster;
    if (world.chance(0.12)) {
      world.count('cutFromMds');
      cluster.network.resetBetween(from.machine, 'mds');
      cutFor(cluster, bothWays(from.machine, 'mds'), world.between(2500, 9000));
      await this.sleep(world.between(0, 3500));
      if (!this.isAt(from)) return;
    }
    const machine = from.machine === 'host0' ? 'host1' : 'host0';
    const holder = `${this.holder.split('.')[0]}.${++this.sides}`;
    const to: Side = {
      process: new SimProcess(world, machine),
      machine,
      holder,
      device: null,
      volume: null,
      renewedMs: 0,
      ran: false,
    };
    this.there = to;
    this.last = to;
    world.count('standbys');
    world.trace(`${holder} is to be at ${machine}`);
    try {
      const dies = new Promise<never>((_, reject) =>
        to.process.onDeath.push(() => reject(new RawstorError('CONNECTION_LOST', 'it is dead'))),
      );
      await Promise.race([this.openSide(to, false), dies]);
    } catch (error) {
      world.count(`standby ${asRawstorError(error).code}`);
      return to.process.kill();
    }
    if ((await this.copyMemory(from, to)) && (await this.stopAt(from))) await this.goOver(from, to);
    else {
      to.process.kill();
      this.goOnAt(from);
    }
  }

  /** While the guest runs on. @returns whether it still does, here */
  private async copyMemory(from: Side, to: Side): Promise<boolean> {
    const { world, calm } = this.cluster;
    const untilMs = world.nowMs + world.between(5, 2500);
    while (world.nowMs < untilMs && !calm) {
      if (!this.tellsStops) this.peek(to);
      await this.sleep(world.between(5, 200));
      if (!this.isAt(from) || !to.process.alive) return false;
    }
    return true;
  }

  /** As a virtual machine stops: what is under way ends, then what was written is flushed. */
  private async stopAt(from: Side): Promise<boolean> {
    const { world } = this.cluster;
    this.stopped = true;
    world.trace(`${from.holder} stops at ${from.machine}`);
    const untilMs = world.nowMs + STOP_LIMIT_MS;
    for (let flushed = false; !this.idle || !flushed; ) {
      if (this.idle) {
        this.flush();
        flushed = true;
      }
      await this.sleep(1);
      if (!this.isAt(from) || world.nowMs > untilMs) return false;
    }
    from.device!.rest(true);
    await this.sleep(world.between(0, 30));
    return this.isAt(from);
  }

  private async goOver(from: Side, to: Side): Promise<void> {
    const { world } = this.cluster;
    const kind = world.random.next();
    if (kind < 0.2 || !to.process.alive) {
      world.count('failedMoves');
      this.end(to);
      return this.goOnAt(from);
    }
    this.goTo(to);
    if (kind < 0.4) {
      // Often before the gateway here has given way.
      await this.sleep(world.between(0, world.chance(0.5) ? 8 : 400));
      if (!this.isAt(to)) return this.end(from);
      // Its virtual machine is gone there, and not its gateway: what has not begun never does.
      world.count('movesBack');
      this.attempt++;
      to.device!.withdraw(() => true);
      this.forgetWrites();
      this.outstanding.clear();
      this.busyBlocks.clear();
      to.device!.rest(true);
      this.goTo(from);
      if (world.chance(0.5)) {
        // Idle long enough to be taken for stopped.
        this.flush();
        this.cluster.quiet(world.between(100, 800));
      }
      await this.sleep(world.between(0, 3000));
      return this.end(to);
    }
    world.count('handOvers');
    await this.sleep(world.between(0, 500));
    this.end(from);
  }

  /** The guest runs there from now on. */
  private goTo(side: Side): void {
    this.cluster.world.trace(`${side.holder} goes on at ${side.machine}`);
    side.ran = true;
    this.here = side;
    this.process = side.process;
    this.name = side.machine;
    this.holder = side.holder;
    this.stopped = false;
    side.device!.rest(false);
    this.begin();
  }

  private goOnAt(side: Side): void {
    if (!this.isAt(side)) return;
    this.stopped = false;
    side.device!.rest(false);
  }

  private isAt(side: Side): boolean {
    return this.alive && this.here === side && side.process.alive;
  }

  private end(side: Side): void {
    this.cluster.world.trace(`${side.holder} ends at ${side.machine}`);
    if (this.cluster.world.chance(0.5)) return side.process.kill();
    void side.device!.close().finally(() => side.process.kill());
  }

  private sleep(forMs: number): Promise<void> {
    return new Promise((resolve) => this.cluster.world.post(forMs, null, '', resolve));
  }

  private flush(): void {
    const request = new GuestRequest(this);
    request.asFlush(this.cluster);
    this.outstanding.add(request);
    if (this.here !== null) this.submit(request);
  }

  /** A read of the virtual machine that waits there. */
  private peek({ device, machine }: Side): void {
    const { oracle, world, blockCount, offsetOf } = this.cluster;
    const block = world.random.below(blockCount);
    const check = oracle.beginRead(block);
    const memory = heapMemory(BLOCK_BYTES);
    const blockDone = (_: BlockRequest, error: RawstorError | null) => {
      world.count(error === null ? 'standbyReads' : `standbyRead ${error.code}`);
      if (error === null && this.alive) oracle.peeked(check, memory.bytes, `standby at ${machine}`);
    };
    const request = new BlockRequest({ blockDone });
    Object.assign(request, { op: BlockOp.READ, offset: offsetOf(block), length: BLOCK_BYTES });
    request.slices.add(memory, 0, BLOCK_BYTES);
    device!.submit(request);
  }
}
