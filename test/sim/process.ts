import type { Clock, Timer } from '../../src/common/clock.js';
import { MiB } from '../../src/common/units.js';
import { heapMemory } from '../../src/io/memory.js';
import { BufferPool } from '../../src/io/pool.js';
import type { BatchTask, Io, IoFile, Listener, Stream } from '../../src/io/types.js';
import type { Actor, World } from './world.js';

const WALL_START_MS = 1_700_000_000_000;

/** A process of the simulated system: what it is given instead of a clock and an operating system. */
export class SimProcess implements Actor {
  readonly name: string;
  readonly world: World;
  readonly clock: Clock;
  readonly io: Io;
  alive = true;
  pausedUntilMs = 0;
  /** Its machine lost power: nothing is said to anybody it was connected to. */
  silentDeath = false;
  /** Jumps of the wall clock, as NTP or an operator makes them; the monotonic one knows none. */
  wallOffsetMs = 0;
  /** What else ends with it. */
  readonly onDeath: (() => void)[] = [];
  private tasks = new Set<BatchTask>();

  constructor(world: World, name: string) {
    this.world = world;
    this.name = name;
    this.clock = new SimClock(world, this);
    this.io = new SimIo(world, (task) => {
      this.tasks.add(task);
      world.touch(this);
    });
  }

  runTasks(): boolean {
    if (this.tasks.size === 0) return false;
    // Tasks may schedule tasks.
    while (this.tasks.size > 0) {
      const tasks = this.tasks;
      this.tasks = new Set();
      for (const task of tasks) task.runBatch();
    }
    return true;
  }

  /** SIGSTOP, then SIGCONT. What was put off by an earlier one goes on before what comes later. */
  pauseFor(pauseMs: number): void {
    this.pausedUntilMs = Math.max(this.pausedUntilMs, this.world.nowMs + pauseMs);
  }

  /** SIGKILL. */
  kill(): void {
    if (!this.alive) return;
    this.alive = false;
    for (const end of this.onDeath.splice(0)) end();
  }

  /** Events of this process, lost with it. */
  later(delayMs: number, label: string, action: () => void): void {
    this.world.post(delayMs, this, label, action);
  }
}

class SimClock implements Clock {
  private readonly world: World;
  private readonly process: SimProcess;

  constructor(world: World, process: SimProcess) {
    this.world = world;
    this.process = process;
  }

  nowMs(): number {
    return this.world.nowMs;
  }

  wallMs(): number {
    return WALL_START_MS + Math.floor(this.world.nowMs + this.process.wallOffsetMs);
  }

  after(delayMs: number, action: () => void): Timer {
    let live = true;
    this.process.later(delayMs, '', () => {
      if (live) action();
    });
    return {
      cancel: () => {
        live = false;
      },
    };
  }

  every(periodMs: number, action: () => void): Timer {
    let live = true;
    const next = () => {
      this.process.later(periodMs, '', () => {
        if (!live) return;
        action();
        next();
      });
    };
    next();
    return {
      cancel: () => {
        live = false;
      },
    };
  }

  sleep(delayMs: number): Promise<void> {
    return new Promise((resolve) => this.process.later(delayMs, '', resolve));
  }
}

const memory = heapMemory(16 * MiB);
const pools = new WeakMap<World, BufferPool>();

/** What killed processes held does not come back, so each history begins with all of it. */
function poolOf(world: World): BufferPool {
  const pool = pools.get(world) ?? new BufferPool(memory);
  pools.set(world, pool);
  return pool;
}

/** Only the turn and the buffers: files and connections of the simulation come in through other seams. */
class SimIo implements Io {
  readonly kind = 'sim';
  readonly pool: BufferPool;
  readonly schedule: (task: BatchTask) => void;

  constructor(world: World, schedule: (task: BatchTask) => void) {
    this.pool = poolOf(world);
    this.schedule = schedule;
  }

  openFile(): Promise<IoFile> {
    throw new Error('not in the simulation');
  }
  listen(): Promise<Listener> {
    throw new Error('not in the simulation');
  }
  connect(): Promise<Stream> {
    throw new Error('not in the simulation');
  }
  async close(): Promise<void> {}
}
