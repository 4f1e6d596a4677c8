import { type Random, seededRandom } from '../../src/common/random.js';

/** Something that can die or be held up: its events happen only while it lives and runs. */
export interface Actor {
  readonly name: string;
  alive: boolean;
  /** Until then it is stopped as by SIGSTOP. */
  pausedUntilMs: number;
  /** Work gathered during a turn (Io.schedule); run at its end. */
  runTasks(): boolean;
}

interface Event {
  atMs: number;
  order: number;
  readonly actor: Actor | null;
  readonly label: string;
  readonly action: () => void;
}

/** Events in one moment of virtual time: beyond, somebody asks again and again without waiting. */
const EVENTS_AT_ONCE = 100_000;

/** A rule of docs/consistency was broken, or nothing goes on any more. */
export class Violation extends Error {
  override readonly name = 'Violation';
}

/** Runs every promise reaction that is due. */
const drained: () => void = (process as unknown as { _tickCallback: () => void })._tickCallback;

/**
 * Runs `action` where promise reactions can be run from within: not in one itself. Waiting for the loop's next
 * turn after each event instead would cost more than the simulated system does.
 */
export function outsideReactions<T>(action: () => T): Promise<T> {
  return new Promise((resolve, reject) => {
    setImmediate(() => {
      try {
        let ran = false;
        Promise.resolve().then(() => {
          ran = true;
        });
        drained();
        if (!ran) throw new Error('this Node runs promise reactions only from its own loop');
        resolve(action());
      } catch (error) {
        reject(error);
      }
    });
  });
}

/**
 * Virtual time. One event at a time, then every promise reaction it set off, then the tasks of the turn; which
 * event is next is decided by its time and a seeded order alone, so that a seed is one history.
 */
export class World {
  nowMs = 0;
  readonly seed: number;
  readonly random: Random;
  events = 0;
  /** Of every event's time and label: equal for equal histories. */
  traceHash = 0x811c9dc5;
  onTrace: ((line: string) => void) | null = null;
  violation: Violation | null = null;
  readonly counts: Record<string, number> = {};
  private readonly heap: Event[] = [];
  private eventsNow = 0;
  private readonly touched = new Set<Actor>();

  constructor(seed: number) {
    this.seed = seed;
    this.random = seededRandom(seed);
  }

  post(delayMs: number, actor: Actor | null, label: string, action: () => void): Event {
    const event = { atMs: this.nowMs + delayMs, order: this.random.next(), actor, label, action };
    push(this.heap, event);
    return event;
  }

  /** Its scheduled tasks run at the end of this turn. */
  touch(actor: Actor): void {
    this.touched.add(actor);
  }

  count(what: string): void {
    this.counts[what] = (this.counts[what] ?? 0) + 1;
  }

  trace(line: string): void {
    for (let i = 0; i < line.length; i++) {
      this.traceHash = Math.imul(this.traceHash ^ line.charCodeAt(i), 0x01000193) >>> 0;
    }
    this.onTrace?.(`${this.nowMs.toFixed(3).padStart(12)} ${line}`);
  }

  fail(message: string): void {
    this.violation ??= new Violation(message);
  }

  chance(probability: number): boolean {
    return this.random.next() < probability;
  }

  between(fromMs: number, toMs: number): number {
    return fromMs + this.random.next() * (toMs - fromMs);
  }

  /** Runs until the condition holds. @throws Violation */
  run(until: () => boolean, limitMs: number, what: string): void {
    const deadlineMs = this.nowMs + limitMs;
    this.settle();
    while (!until()) {
      if (this.violation !== null) throw this.violation;
      const event = pop(this.heap);
      if (event === undefined) throw new Violation(`nothing happens any more, waiting for: ${what}`);
      if (event.atMs > deadlineMs) throw new Violation(`no progress in ${limitMs} ms: ${what}`);
      const { actor } = event;
      if (actor !== null) {
        if (!actor.alive) continue;
        if (actor.pausedUntilMs > event.atMs) {
          event.atMs = actor.pausedUntilMs;
          push(this.heap, event);
          continue;
        }
      }
      this.advanceTo(event.atMs);
      this.events++;
      if (event.label !== '') this.trace(`${actor?.name ?? '-'} ${event.label}`);
      event.action();
      this.settle();
    }
    if (this.violation !== null) throw this.violation;
  }

  private advanceTo(atMs: number): void {
    if (atMs > this.nowMs) {
      this.nowMs = atMs;
      this.eventsNow = 0;
    } else if (++this.eventsNow > EVENTS_AT_ONCE) {
      throw new Violation(`time stands still: ${EVENTS_AT_ONCE} events at ${this.nowMs.toFixed(3)} ms`);
    }
  }

  private settle(): void {
    drained();
    while (this.touched.size > 0) {
      const actors = [...this.touched];
      this.touched.clear();
      let ran = false;
      for (const actor of actors) if (actor.alive && actor.runTasks()) ran = true;
      if (ran) drained();
    }
  }
}

const before = (a: Event, b: Event) => a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order);

function push(heap: Event[], event: Event): void {
  let at = heap.push(event) - 1;
  while (at > 0) {
    const parent = (at - 1) >> 1;
    if (!before(heap[at]!, heap[parent]!)) return;
    [heap[at], heap[parent]] = [heap[parent]!, heap[at]!];
    at = parent;
  }
}

function pop(heap: Event[]): Event | undefined {
  const first = heap[0];
  const last = heap.pop();
  if (first === undefined || last === undefined || heap.length === 0) return first;
  heap[0] = last;
  for (let at = 0; ; ) {
    let least = at;
    for (const child of [2 * at + 1, 2 * at + 2]) {
      if (child < heap.length && before(heap[child]!, heap[least]!)) least = child;
    }
    if (least === at) return first;
    [heap[at], heap[least]] = [heap[least]!, heap[at]!];
    at = least;
  }
}
