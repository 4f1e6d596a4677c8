import { type BatchTask, closeDescriptor, EventFd, type ReadableWatch } from '../io/index.js';
import { Executor } from './executor.js';
import { type GuestRequest, HEADER_BYTES } from './guest-request.js';
import type { VringAddresses } from './messages.js';
import { type OpenRing, type Recovered, reopenRing } from './open-ring.js';
import { RowLimit } from './row-limit.js';
import { type Inflight, Taken } from './virtqueue.js';
import type { VringHost } from './vring-host.js';

/** One virtqueue of a device: its settings, and, while it is started, the loop that serves it. */
export class Vring implements BatchTask {
  size = 0;
  base = 0;
  addresses: VringAddresses | null = null;
  enabled = false;
  /** To be started by `thaw`. */
  frozen = false;
  /** By the guest: served no more until it is started anew, which `thaw` is not. */
  broken = false;
  private readonly index: number;
  private readonly host: VringHost;
  private readonly executor: Executor;
  private readonly free: GuestRequest[] = [];
  private ring: OpenRing | null = null;
  kick: EventFd | null = null;
  call: EventFd | null = null;
  error: EventFd | null = null;
  private watch: ReadableWatch | null = null;
  private inflight: Inflight | null = null;
  private inFlight = 0;
  private stopping = false;
  private running = false;
  private readonly row = new RowLimit(() => this.run());
  private thaws = 0;
  private readonly idle: (() => void)[] = [];

  constructor(index: number, host: VringHost) {
    this.index = index;
    this.host = host;
    this.executor = new Executor({
      device: host.device,
      copies: host.copies,
      serial: host.serial,
      writeThrough: () => host.writeThrough,
      flushed: () => {
        host.writebackKnown = true;
      },
      isTorn: () => host.isTorn(),
      gone: () => host.ending,
      done: (request, _status, writtenBytes) => this.done(request, writtenBytes),
      left: (request) => this.over(request),
    });
  }

  get isTorn(): boolean {
    return this.ring?.isTorn() === true;
  }

  get started(): boolean {
    return this.ring !== null;
  }

  /** Both take the descriptor over; null: none. */
  setCall(fd: number | null): void {
    this.call?.close();
    this.call = fd === null ? null : new EventFd(fd);
    // What was told to the one before may not have reached the driver.
    if (this.ring !== null) this.call?.signal();
  }

  setError(fd: number | null): void {
    this.error?.close();
    this.error = fd === null ? null : new EventFd(fd);
  }

  /** Starts the ring. @throws RawstorError INVALID where its memory is not sound */
  start(fd: number, broken = false): void {
    this.closeKick();
    const { host, index, size, base, addresses } = this;
    let recovered: Recovered | null = null;
    if (this.ring === null) {
      const settings = { size, base, addresses, features: host.features };
      try {
        [this.ring, recovered] = reopenRing(host.memory, settings, host.inflightBytes(index, size));
      } catch (error) {
        closeDescriptor(fd);
        throw error;
      }
      this.broken = broken;
      host.log.debug({ queue: index, size, base, features: host.features.toString(16) }, 'queue starts');
      this.inflight = recovered?.inflight ?? null;
    }
    this.kick = new EventFd(fd);
    this.watch = this.kick.watch(() => this.run());
    host.onStarted();
    if (recovered !== null && recovered.heads.length > 0) {
      const { heads } = recovered;
      host.log.info(
        { queue: index, requests: heads.length },
        'requests of the process before are done again',
      );
      for (const head of heads) this.again(recovered, head);
    }
    this.run();
  }

  /**
   * Takes no more, waits until everything is answered, then lets go of the ring. @returns its base for the next start
   * @param told whether the front-end hears of that, asked then: where not, the in-flight area keeps a packed ring's place
   */
  async stop(told: () => boolean): Promise<number> {
    await this.halt(told);
    this.closeKick();
    return this.base;
  }

  /** Stops, but that `thaw` starts it again where it was: kicks are kept. */
  async freeze(): Promise<void> {
    const { started } = this;
    if (await this.halt(() => false)) this.frozen = started;
  }

  /** Also of another process's ring, with its settings and descriptors put in; and of one still about to freeze. */
  thaw(): void {
    this.thaws++;
    if (this.ring !== null) {
      this.watch ??= this.kick?.watch(() => this.run()) ?? null;
      return this.hold(false);
    }
    if (!this.frozen || this.kick === null) return;
    const { fd } = this.kick;
    this.kick = null;
    this.frozen = false;
    this.start(fd, this.broken);
    // Whether the driver was told of the last is not known.
    this.call?.signal();
  }

  /** @returns false where it was thawed before it had stopped */
  private async halt(told: () => boolean): Promise<boolean> {
    const { thaws } = this;
    this.stopping = true;
    this.watch?.close();
    this.watch = null;
    await this.whenIdle();
    if (this.thaws !== thaws) return false;
    this.stopping = false;
    if (this.ring === null) return true;
    this.notify();
    this.base = this.ring.queue.base;
    if (told()) this.inflight?.stopped();
    this.ring.close();
    this.ring = null;
    this.inflight = null;
    this.host.onStarted();
    return true;
  }

  /** Gives everything back; after `stop`. */
  close(): void {
    this.closeKick();
    this.frozen = false;
    this.setCall(null);
    this.setError(null);
    this.enabled = false;
    this.addresses = null;
  }

  /** Takes no more, until it may again. */
  hold(held: boolean): void {
    this.stopping = held;
    if (!held) this.run();
  }

  whenIdle(): Promise<void> {
    return this.inFlight === 0 ? Promise.resolve() : new Promise((resolve) => this.idle.push(resolve));
  }

  /** Once more at the end of the turn. */
  wake(): void {
    this.host.io.schedule(this);
  }

  runBatch(): void {
    this.notify();
    if (this.ring?.queue.hasMore() === true) this.run();
  }

  /** Takes what there is. */
  run(): void {
    const { running, row, stopping, broken } = this;
    if (running || row.resting || stopping || broken || this.ring === null || !this.enabled) return;
    this.running = true;
    const { queue } = this.ring;
    try {
      queue.wantKicks(false);
      for (;;) {
        // Out of budget, or of its turn: it is woken, so no kick is needed.
        if (!this.takeAll()) return;
        queue.wantKicks(true);
        if (!queue.hasMore()) return;
        queue.wantKicks(false);
      }
    } finally {
      this.running = false;
    }
  }

  /** @returns false when it has to end before the ring is empty */
  private takeAll(): boolean {
    const { queue } = this.ring!;
    for (;;) {
      if (!this.row.take()) return false;
      if (!this.host.budget.take(this)) return false;
      const request = this.free.pop() ?? this.executor.newRequest();
      const taken = queue.take(request.chain);
      if (this.host.isTorn()) return this.putBack(request);
      if (taken === Taken.CHAIN) {
        this.inflight?.taken(request.chain);
        if (!this.begin(request)) return false;
        continue;
      }
      this.putBack(request);
      if (taken === Taken.NOTHING) return true;
      this.breakDown(queue.fault);
      return false;
    }
  }

  private putBack(request: GuestRequest): false {
    this.free.push(request);
    this.host.budget.giveBack();
    return false;
  }

  private begin(request: GuestRequest): boolean {
    const { readable, writable } = request.chain;
    if (readable.lengthBytes < HEADER_BYTES || writable.lengthBytes === 0) {
      this.putBack(request);
      this.breakDown('request without a whole header, or without room for a status');
      return false;
    }
    this.inFlight++;
    this.executor.start(request);
    return true;
  }

  /** Begins anew what the process before had taken. Above the budget, but only once. */
  private again(recovered: Recovered, head: number): void {
    const request = this.executor.newRequest();
    if (this.broken || recovered.readAgain(head, request.chain) !== Taken.CHAIN) {
      if (!this.broken) this.breakDown(this.ring!.queue.fault);
      return;
    }
    this.host.budget.force();
    this.begin(request);
  }

  private done(request: GuestRequest, writtenBytes: number): void {
    const { queue } = this.ring!;
    const { chain } = request;
    this.host.dirty?.markSlices(chain.writable, request.touchedBytes);
    this.inflight?.giving(chain, queue.usedAfter(chain));
    queue.give(chain, writtenBytes);
    this.inflight?.given(chain, queue.usedBase);
    this.markRing();
    this.over(request);
  }

  private over(request: GuestRequest): void {
    this.free.push(request);
    this.inFlight--;
    this.host.budget.giveBack();
    this.host.io.schedule(this);
    this.host.isTorn();
    if (this.inFlight === 0) for (const resolve of this.idle.splice(0)) resolve();
  }

  private markRing(): void {
    if (this.addresses?.logged !== true) return;
    for (const { at, lengthBytes } of this.ring!.logged) this.host.dirty?.mark(at, lengthBytes);
  }

  private notify(): void {
    if (this.ring?.queue.wantsCall() === true) this.call?.signal();
  }

  private breakDown(fault: string): void {
    this.broken = true;
    this.error?.signal();
    this.host.onBroken(this.index, fault);
  }

  private closeKick(): void {
    this.watch?.close();
    this.watch = null;
    this.kick?.close();
    this.kick = null;
  }
}
