import { readFileSync } from 'node:fs';

/** For what is open all the time: records, rings, listeners, logs. */
const RESERVED = 64;
const LEAST = 16;

/** How many chunks may be open of what this process may have open: half of it is for connections, and for chunks that are all in use. */
export function openFilesWithin(wanted: number, limits: () => string = systemLimits): number {
  const soft = /^Max open files\s+(\d+)/m.exec(limits())?.[1];
  if (soft === undefined) return wanted;
  return Math.min(wanted, Math.max(LEAST, Math.floor((Number(soft) - RESERVED) / 2)));
}

function systemLimits(): string {
  try {
    return readFileSync('/proc/self/limits', 'utf8');
  } catch {
    return '';
  }
}
