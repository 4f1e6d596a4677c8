import { readdirSync, readFileSync } from 'node:fs';

/** USER_HZ: fixed by the kernel's interface with programs on every architecture of ours. */
const TICKS_PER_SECOND = 100;

interface ProcessTimes {
  parent: number;
  /** Of the process and of its children that have ended and were waited for. */
  seconds: number;
}

function readTimes(pid: number): ProcessTimes | null {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'latin1');
    // The second field is a name in parentheses that may hold anything.
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
    const ticks = [11, 12, 13, 14].reduce((sum, index) => sum + Number(fields[index]), 0);
    return { parent: Number(fields[1]), seconds: ticks / TICKS_PER_SECOND };
  } catch {
    return null;
  }
}

/**
 * CPU seconds used so far by the processes and by all below them, threads of the kernel working for
 * their io_uring included.
 * @throws Error when one of `pids` is gone: its time would be missing from the difference
 */
export function cpuSeconds(pids: readonly number[]): number {
  const all = new Map<number, ProcessTimes>();
  for (const name of readdirSync('/proc')) {
    const times = /^\d+$/.test(name) ? readTimes(Number(name)) : null;
    if (times) all.set(Number(name), times);
  }
  let seconds = 0;
  const counted = new Set<number>();
  const queue = [...pids];
  for (let pid = queue.pop(); pid !== undefined; pid = queue.pop()) {
    if (counted.has(pid)) continue;
    counted.add(pid);
    const times = all.get(pid);
    if (times === undefined) throw new Error(`process ${pid} is gone`);
    seconds += times.seconds;
    for (const [child, { parent }] of all) if (parent === pid) queue.push(child);
  }
  return seconds;
}
