import type { SimProcess } from './process.js';
import type { World } from './world.js';

/** How long the kernel goes on sending into silence; longer than any time limit of the protocol. */
const RETRANSMIT_MS = 20;

/** Which machine hears which: partitions are one-way and per pair of names. */
export class Network {
  readonly world: World;
  private readonly cuts = new Set<string>();
  private readonly pipes = new Set<Pipe>();
  /** Whether a program runs on the machine of that name. */
  isUp: (name: string) => boolean = () => true;
  /** Beside the usual fraction of a millisecond. */
  slowUntilMs = 0;

  constructor(world: World) {
    this.world = world;
  }

  cut(from: string, to: string): void {
    this.cuts.add(`${from}>${to}`);
  }

  heal(): void {
    this.cuts.clear();
  }

  healOne(from: string, to: string): void {
    this.cuts.delete(`${from}>${to}`);
  }

  isCut(from: string, to: string): boolean {
    return this.cuts.has(`${from}>${to}`);
  }

  delayMs(): number {
    const { world } = this;
    const usual = 0.03 + world.random.next() * 0.2;
    if (world.nowMs < this.slowUntilMs) return usual + world.between(0, 30);
    return world.chance(0.01) ? usual + world.between(0, 20) : usual;
  }

  connect(client: SimProcess, server: SimProcess): Pipe {
    const pipe = new Pipe(this, client, server);
    this.pipes.add(pipe);
    return pipe;
  }

  forget(pipe: Pipe): void {
    this.pipes.delete(pipe);
  }

  /** Every connection between the two is reset. */
  resetBetween(a: string, b: string): void {
    for (const pipe of [...this.pipes]) {
      const names = pipe.ends.map((end) => end.process.name);
      if (names.includes(a) && names.includes(b)) pipe.reset();
    }
  }

  /** What the connections of now carry from one to the other stands still; those made later are as fast as ever. */
  stall(from: string, to: string, forMs: number): void {
    for (const pipe of this.pipes) pipe.stall(from, to, this.world.nowMs + forMs);
  }

  /** Only this side learns that its connections to the other have ended. */
  endAt(from: string, to: string): void {
    for (const pipe of [...this.pipes]) pipe.endAt(from, to);
  }

  /** A connection of this machine, or any, is reset. */
  reset(name: string): void {
    const some = [...this.pipes].filter((pipe) => pipe.ends.some((end) => end.process.name === name));
    if (some.length > 0) some[this.world.random.below(some.length)]!.reset();
  }
}

export interface PipeEnd {
  readonly process: SimProcess;
  /** Told once, when this side learns that the connection is over. */
  onClosed: () => void;
}

/** One connection: ordered, each way by itself; broken by either side's end, or a reset. */
export class Pipe {
  readonly ends: readonly [PipeEnd, PipeEnd];
  private readonly network: Network;
  private readonly lastAtMs = [0, 0];
  private readonly closed = [false, false];
  private vanished = false;
  private readonly stalledUntilMs = [0, 0];

  constructor(network: Network, client: SimProcess, server: SimProcess) {
    this.network = network;
    this.ends = [
      { process: client, onClosed: () => {} },
      { process: server, onClosed: () => {} },
    ];
    for (const side of [0, 1]) {
      // The kernel of a dead process closes for it; that of a machine without power does not.
      const { process } = this.ends[side]!;
      process.onDeath.push(() => (process.silentDeath ? this.vanish(side) : this.close(side)));
    }
  }

  isClosed(side: number): boolean {
    return this.closed[side]!;
  }

  /** Delivers to the other side, in order, unless the connection ends before. */
  send(side: number, label: string, deliver: () => void): void {
    if (this.closed[side]) return;
    if (this.vanished && this.network.isUp(this.ends[1 - side]!.process.name)) {
      // The machine is back and knows nothing of this connection.
      this.ends[side]!.process.later(this.network.delayMs(), 'reset', () => this.learnEnd(side));
      return;
    }
    this.deliver(side, label, () => {
      if (!this.closed[1 - side]) deliver();
    });
  }

  /** This side has ended it; what it sent before may still arrive, and then the end. */
  close(side: number): void {
    if (this.closed[side]) return;
    this.closed[side] = true;
    this.network.forget(this);
    this.deliver(side, '', () => this.learnEnd(1 - side));
  }

  /** Half-open from now on. */
  private vanish(side: number): void {
    this.closed[side] = true;
    this.vanished = true;
    this.network.forget(this);
    this.network.world.count('halfOpen');
  }

  reset(): void {
    this.network.world.count('resets');
    this.network.forget(this);
    for (const side of [0, 1]) {
      const { process } = this.ends[side]!;
      process.later(this.network.delayMs(), 'reset', () => this.learnEnd(side));
    }
  }

  stall(from: string, to: string, untilMs: number): void {
    const side = this.sideOf(from, to);
    if (side >= 0) this.stalledUntilMs[side] = untilMs;
  }

  endAt(from: string, to: string): void {
    const side = this.sideOf(from, to);
    if (side < 0 || this.closed[side]) return;
    // What it has sent is on its way, and then the end.
    this.close(side);
    this.ends[side]!.onClosed();
  }

  private sideOf(from: string, to: string): number {
    const [a, b] = this.ends.map((end) => end.process.name);
    return a === from && b === to ? 0 : a === to && b === from ? 1 : -1;
  }

  private learnEnd(side: number): void {
    if (this.closed[side]) return;
    this.closed[side] = true;
    this.network.forget(this);
    this.ends[side]!.onClosed();
  }

  private deliver(side: number, label: string, action: () => void): void {
    const { network } = this;
    const { world } = network;
    const to = this.ends[1 - side]!.process;
    const atMs = Math.max(this.lastAtMs[side]!, world.nowMs + network.delayMs());
    this.lastAtMs[side] = atMs + 0.001;
    const arrive = () => {
      const cut = network.isCut(this.ends[side]!.process.name, to.name);
      if (!cut && world.nowMs >= this.stalledUntilMs[side]!) return action();
      // Sent again and again by the kernel; what was sent later waits behind it.
      const again = Math.max(this.lastAtMs[side]!, world.nowMs + RETRANSMIT_MS);
      this.lastAtMs[side] = again + 0.001;
      world.post(RETRANSMIT_MS, to, '', arrive);
    };
    world.post(atMs - world.nowMs, to, label, arrive);
  }
}
