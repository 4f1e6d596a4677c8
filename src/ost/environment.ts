import type { Clock } from '../common/clock.js';
import type { Logger } from '../common/log.js';
import type { Io } from '../io/types.js';
import type { Place } from './place.js';

/** What an OST is run with, for all of its parts. */
export interface OstEnvironment {
  readonly io: Io;
  readonly clock: Clock;
  readonly log: Logger;
  /** /proc/sys/kernel/random/boot_id when left out. */
  readonly kernelBootId?: string | undefined;
  /** Where the chunks are; as the system says when left out. */
  readonly place?: Place | undefined;
  /** The kernel's counters of dirty pages, as /proc/vmstat has them; that file when left out. */
  readonly dirtyCounters?: (() => string) | undefined;
  /** When nothing can be promised any more; ends the process when left out. */
  readonly onFatal?: (() => void) | undefined;
}
