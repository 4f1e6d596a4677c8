import type { ObjectInfo } from '../../../protocol/index.js';

/** Two in one second are told apart. */
export function freeName(volume: ObjectInfo, name: string): string {
  const taken = new Set(volume.snapshots.map((one) => one.name));
  for (let i = 1; ; i++) {
    const free = i === 1 ? name : `${name}-${i}`;
    if (!taken.has(free)) return free;
  }
}

/** Sorts by time, and needs no quotes in a shell. */
export function safetyName(wallMs: number): string {
  const time = new Date(wallMs).toISOString().replace(/[-:]|\.\d+/g, '');
  return `before-rollback-${time}`;
}
