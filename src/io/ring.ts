import { assert } from '../common/assert.js';
import { RawstorError } from '../common/errors.js';
import { loadNative, type Native, type NativeHandle, type RingDescription } from '../native/index.js';
import { AdaptivePoll, POLL_MAX_US } from './adaptive-poll.js';
import { EAGAIN, EBUSY, EINTR, errnoError } from './errno.js';
import * as abi from './ring-abi.js';
import { RingScratch } from './ring-scratch.js';

/** Whoever puts operations on the ring. Few classes, so that the calls stay cheap. */
export interface RingUser {
  /** Writes the submission with `ring.fill`, now or when there is room. `kind`, `context`, `progress` as queued. */
  prepare(ring: Ring, kind: number, context: unknown, progress: number): void;
  /** `result` of the kernel: a count, or a negative errno. */
  completed(kind: number, context: unknown, progress: number, result: number): void;
}

/** What is done between two visits to the kernel. */
export interface RoundWork {
  readonly pending: boolean;
  runRound(): void;
}

export interface RingOptions {
  entries?: number | undefined;
  cqEntries?: number | undefined;
  /** Longest wait on the CPU for a completion before sleeping; 0: none. */
  pollMaxUs?: number | undefined;
}

const TWO32 = 4294967296;
const SQE_WORDS = 16;
const CQE_WORDS = 4;
/** Visits to the kernel in one turn; then timers and other handles of the loop have theirs. */
const ROUNDS_MAX = 16;
/** Completions awaited on the CPU in one turn; see AdaptivePoll. */
const POLLS_MAX = 16;
/** Turns straight after the running script without the loop getting on; then by way of setImmediate. */
const TICK_TURNS_MAX = 16;

/**
 * An io_uring whose rings are typed arrays: entries are filled and completions read without a native call, and
 * one call a round submits and reaps. There is never more in flight than the completion ring holds; what is
 * above waits in line here, so that no completion overflows and none is lost.
 */
export class Ring {
  readonly scratch = new RingScratch();
  readonly setupFlags: number;
  private readonly native: Native = loadNative();
  private readonly ring: RingDescription;
  private readonly eventfd: number;
  private readonly watch: NativeHandle;
  private readonly work: RoundWork;
  private readonly poll: AdaptivePoll;

  private readonly words: Int32Array;
  private readonly sqes: Int32Array;
  private readonly sqMask: number;
  private readonly sqEntries: number;
  private readonly cqMask: number;
  private readonly sqHeadAt: number;
  private readonly sqTailAt: number;
  private readonly sqFlagsAt: number;
  private readonly cqHeadAt: number;
  private readonly cqTailAt: number;
  private readonly cqFlagsAt: number;
  private readonly cqesAt: number;
  private sqTail: number;
  private cqHead: number;

  private readonly users: (RingUser | null)[];
  private readonly contexts: unknown[];
  private readonly kinds: Uint8Array;
  private readonly progress: Float64Array;
  private readonly freeSlots: Int32Array;
  private freeCount: number;
  /** In line for a slot: user, kind, context, progress, flat. */
  private line: unknown[] = [];
  private lineAt = 0;

  private operations = 0;
  private turning = false;
  private arranged = false;
  private keepsAlive = true;
  private tickTurns = 0;
  private closed = false;
  private idleWaiters: (() => void)[] = [];

  /** @throws RawstorError UNAVAILABLE where io_uring is refused, naming the reason */
  constructor(work: RoundWork, options: RingOptions = {}) {
    const entries = options.entries ?? 4096;
    // Each operation that is under way has a slot, and each connection two at most: one receives, one sends to whoever takes
    // nothing. All connections of two servers have to find theirs, and files some beside them (LIMITS.connectionsPerServer).
    const cqEntries = options.cqEntries ?? 8 * entries;
    this.work = work;
    const ring = this.native.ringCreate(entries, cqEntries);
    if (typeof ring === 'number') {
      this.scratch.unmap();
      throw new RawstorError(
        'UNAVAILABLE',
        `io_uring is refused: ${errnoError(ring, 'io_uring_setup', '').message}`,
        {
          hint: 'allow io_uring (seccomp profile, sysctl kernel.io_uring_disabled), or set RAWSTOR_IO=node',
        },
      );
    }
    this.ring = ring;
    const pollMaxUs = options.pollMaxUs ?? POLL_MAX_US;
    this.poll = new AdaptivePoll(pollMaxUs, (maxNs) => this.native.ringPoll(ring.handle, maxNs));
    this.setupFlags = ring.setupFlags;
    this.words = new Int32Array(ring.rings);
    this.sqes = new Int32Array(ring.sqes);
    this.sqEntries = ring.sqEntries;
    this.sqMask = ring.sqEntries - 1;
    this.cqMask = ring.cqEntries - 1;
    this.sqHeadAt = ring.sqHeadAt >>> 2;
    this.sqTailAt = ring.sqTailAt >>> 2;
    this.sqFlagsAt = ring.sqFlagsAt >>> 2;
    this.cqHeadAt = ring.cqHeadAt >>> 2;
    this.cqTailAt = ring.cqTailAt >>> 2;
    this.cqFlagsAt = ring.cqFlagsAt >>> 2;
    this.cqesAt = ring.cqesAt >>> 2;
    this.sqTail = this.words[this.sqTailAt]!;
    this.cqHead = this.words[this.cqHeadAt]!;

    const slots = ring.cqEntries;
    this.users = new Array(slots).fill(null);
    this.contexts = new Array(slots).fill(null);
    this.kinds = new Uint8Array(slots);
    this.progress = new Float64Array(slots);
    this.freeSlots = Int32Array.from({ length: slots }, (_, i) => slots - 1 - i);
    this.freeCount = slots;

    this.eventfd = this.native.eventfdCreate();
    const registered = this.native.ringRegisterEventfd(ring.fd, this.eventfd);
    if (registered < 0) throw errnoError(registered, 'io_uring_register', 'eventfd');
    const watch = this.native.watchCreate(this.eventfd, true, this.onEvent);
    if (typeof watch === 'number') throw errnoError(watch, 'uv_poll_init', 'eventfd');
    this.watch = watch;
    this.setKeepsAlive(false);
  }

  /** Operations that the kernel may have at a time; others stand in line. */
  get slots(): number {
    return this.users.length;
  }

  /** Operations that have not completed. */
  get inFlight(): number {
    return this.operations;
  }

  /** One operation: `user.prepare` fills it, at once or when there is room, `user.completed` ends it. */
  queue(user: RingUser, kind: number, context: unknown, progress: number): void {
    assert(!this.closed, 'operation on a closed ring');
    this.operations++;
    if (this.freeCount === 0 || this.lineAt < this.line.length) {
      this.line.push(user, kind, context, progress);
    } else {
      this.place(user, kind, context, progress);
    }
    if (!this.turning) this.arrange();
  }

  /** Writes the submission being prepared. `offset` and `address` below 2^53, `lengthBytes` below 2^32. */
  fill(op: number, fd: number, offset: number, address: number, lengthBytes: number, opFlags: number): void {
    const sqes = this.sqes;
    const at = (this.sqTail & this.sqMask) * SQE_WORDS;
    sqes[at] = op;
    sqes[at + 1] = fd;
    sqes[at + 2] = offset;
    sqes[at + 3] = offset / TWO32;
    sqes[at + 4] = address;
    sqes[at + 5] = address / TWO32;
    sqes[at + 6] = lengthBytes;
    sqes[at + 7] = opFlags;
  }

  /** There is work for the end of a turn: makes sure that one comes. */
  arrange(): void {
    if (this.turning || this.arranged || this.closed) return;
    this.arranged = true;
    if (this.tickTurns < TICK_TURNS_MAX) {
      this.tickTurns++;
      process.nextTick(this.onTick);
    } else {
      setImmediate(this.onImmediate);
    }
  }

  supports(op: number): boolean {
    return this.native.ringSupports(this.ring.fd, op);
  }

  /** Resolves when nothing is in flight. */
  whenIdle(): Promise<void> {
    if (this.operations === 0) return Promise.resolve();
    return new Promise((resolve) => this.idleWaiters.push(resolve));
  }

  /** Gives the ring back; nothing may be in flight, or it is cancelled unanswered. */
  close(): void {
    if (this.closed) return;
    this.closed = true;
    this.native.watchClose(this.watch);
    this.native.ringClose(this.ring.handle, this.ring.rings, this.ring.sqes);
    this.native.closeFd(this.eventfd);
    this.scratch.unmap();
  }

  private readonly onEvent = (): void => {
    this.tickTurns = 0;
    this.poll.wakes();
    this.turn();
  };

  private readonly onTick = (): void => {
    if (!this.arranged) return;
    this.arranged = false;
    this.turn();
  };

  private readonly onImmediate = (): void => {
    this.tickTurns = 0;
    this.onTick();
  };

  private turn(): void {
    if (this.turning || this.closed) return;
    this.turning = true;
    const { words, cqFlagsAt } = this;
    Atomics.store(words, cqFlagsAt, abi.CQ_EVENTFD_DISABLED);
    // Stays true when a callback throws: the rest is done in a turn of its own.
    let more = true;
    try {
      more = this.rounds();
    } finally {
      this.turning = false;
      if (!this.closed) {
        Atomics.store(words, cqFlagsAt, 0);
        // What came before the event was armed again would wake nobody.
        if (more || this.reapable()) {
          this.tickTurns = TICK_TURNS_MAX;
          this.arrange();
        } else {
          this.poll.fallsAsleep();
        }
        if (this.operations > 0 !== this.keepsAlive) this.setKeepsAlive(this.operations > 0);
      }
    }
  }

  private rounds(): boolean {
    let polls = 0;
    for (let round = 0; round < ROUNDS_MAX; round++) {
      this.work.runRound();
      if (this.closed) return false;
      if (this.lineAt < this.line.length) this.placeLine();
      const unsubmitted = this.sqTail !== this.words[this.sqHeadAt];
      if (unsubmitted || this.reapable()) this.enter(abi.ENTER_GETEVENTS);
      else if (!this.work.pending) {
        if (polls === POLLS_MAX) return true;
        if (this.operations === 0 || !this.poll.cameSoon()) return this.settled();
        polls++;
        round = -1;
        continue;
      }
      this.dispatch();
      if (this.closed) return false;
    }
    return true;
  }

  private settled(): boolean {
    if (this.operations === 0 && this.idleWaiters.length > 0) {
      const waiting = this.idleWaiters;
      this.idleWaiters = [];
      for (const resolve of waiting) resolve();
    }
    return false;
  }

  /** The kernel has completions, or work that makes some once it is entered. */
  private reapable(): boolean {
    return (
      Atomics.load(this.words, this.cqTailAt) !== this.cqHead ||
      (Atomics.load(this.words, this.sqFlagsAt) & (abi.SQ_TASKRUN | abi.SQ_CQ_OVERFLOW)) !== 0
    );
  }

  private enter(flags: number): void {
    const words = this.words;
    const toSubmit = (this.sqTail - words[this.sqHeadAt]!) | 0;
    const { enterFd, enterFlags } = this.ring;
    const result = this.native.ringEnter(enterFd, toSubmit, 0, flags | enterFlags);
    if (words[this.sqHeadAt] === this.sqTail) this.scratch.reset();
    // Out of memory for the moment, or completions first: what is not taken stays for the next round.
    if (result < 0 && result !== -EAGAIN && result !== -EBUSY && result !== -EINTR) {
      throw errnoError(result, 'io_uring_enter', 'ring');
    }
  }

  private place(user: RingUser, kind: number, context: unknown, progress: number): void {
    if (((this.sqTail - this.words[this.sqHeadAt]!) | 0) >= this.sqEntries || this.scratch.full) {
      this.enter(0);
      if (((this.sqTail - this.words[this.sqHeadAt]!) | 0) >= this.sqEntries) {
        this.line.push(user, kind, context, progress);
        return;
      }
    }
    const slot = this.freeSlots[--this.freeCount]!;
    this.users[slot] = user;
    this.contexts[slot] = context;
    this.kinds[slot] = kind;
    this.progress[slot] = progress;
    user.prepare(this, kind, context, progress);
    this.sqes[(this.sqTail & this.sqMask) * SQE_WORDS + 8] = slot;
    this.sqTail = (this.sqTail + 1) | 0;
    this.words[this.sqTailAt] = this.sqTail;
  }

  private placeLine(): void {
    const line = this.line;
    while (this.lineAt < line.length && this.freeCount > 0) {
      const at = this.lineAt;
      const before = line.length;
      this.lineAt += 4;
      this.place(line[at] as RingUser, line[at + 1] as number, line[at + 2], line[at + 3] as number);
      if (line.length > before) return; // No room after all: it went to the end of the line.
    }
    if (this.lineAt >= line.length || this.lineAt > 65536) {
      this.line = line.slice(this.lineAt);
      this.lineAt = 0;
    }
  }

  private dispatch(): void {
    const { words, cqesAt, cqMask } = this;
    const tail = Atomics.load(words, this.cqTailAt);
    let head = this.cqHead;
    try {
      while (head !== tail) {
        const at = cqesAt + (head & cqMask) * CQE_WORDS;
        const slot = words[at]!;
        const result = words[at + 2]!;
        head = (head + 1) | 0;
        const user = this.users[slot]!;
        const context = this.contexts[slot];
        this.users[slot] = null;
        this.contexts[slot] = null;
        this.freeSlots[this.freeCount++] = slot;
        this.operations--;
        user.completed(this.kinds[slot]!, context, this.progress[slot]!, result);
      }
    } finally {
      this.cqHead = head;
      if (!this.closed) Atomics.store(words, this.cqHeadAt, head);
    }
  }

  private setKeepsAlive(keepsAlive: boolean): void {
    this.keepsAlive = keepsAlive;
    this.native.watchRef(this.watch, keepsAlive);
  }
}
