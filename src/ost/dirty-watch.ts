import { readFileSync } from 'node:fs';
import type { Clock } from '../common/clock.js';

/** How long a look at the counters holds. */
const LOOK_EVERY_MS = 250;
/** Share of the kernel's background threshold from which on the machine counts as short of room. */
const NEAR_SHARE = 0.8;

/**
 * Whether the machine as a whole has so much unwritten data that the kernel is about to act. It lets writers go
 * on freely up to halfway between its background and its full threshold; several OSTs, each within its own limit,
 * and other programs can get there together. (Linux, mm/page-writeback.c; Documentation/admin-guide/sysctl/vm.rst.)
 */
export class DirtyWatch {
  private readonly clock: Pick<Clock, 'nowMs'>;
  private readonly counters: () => string;
  private lookedAtMs = Number.NEGATIVE_INFINITY;
  private near = false;

  /** `counters` is the text of /proc/vmstat. */
  constructor(clock: Pick<Clock, 'nowMs'>, counters: () => string = readVmstat) {
    this.clock = clock;
    this.counters = counters;
  }

  tight(): boolean {
    const nowMs = this.clock.nowMs();
    if (nowMs - this.lookedAtMs >= LOOK_EVERY_MS) {
      this.lookedAtMs = nowMs;
      this.near = isNear(this.counters());
    }
    return this.near;
  }
}

function readVmstat(): string {
  try {
    return readFileSync('/proc/vmstat', 'latin1');
  } catch {
    return ''; // Not to be seen in some containers: the own limit is what is left.
  }
}

function isNear(vmstat: string): boolean {
  const dirty = counter(vmstat, 'nr_dirty') + counter(vmstat, 'nr_writeback');
  const threshold = counter(vmstat, 'nr_dirty_background_threshold');
  return threshold > 0 && dirty > threshold * NEAR_SHARE;
}

/** Pages; 0 where the kernel has no such counter. */
function counter(vmstat: string, name: string): number {
  const match = new RegExp(`^${name} (\\d+)$`, 'm').exec(vmstat);
  return match === null ? 0 : Number(match[1]);
}
