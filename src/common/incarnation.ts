import { readFileSync } from 'node:fs';

/** A moment of a machine, in the order of all its processes: under one kernel a later one is higher. */
export interface Incarnation {
  /** Boot id of the kernel. */
  readonly boot: string;
  /** Microseconds of its monotonic clock, which no setting of the time moves. */
  readonly atUs: number;
}

let boot = '';
let lastUs = 0;

/** Now; never the same twice. */
export function nextIncarnation(): Incarnation {
  boot ||= readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  lastUs = Math.max(lastUs + 1, Number(process.hrtime.bigint() / 1000n));
  return { boot, atUs: lastUs };
}
