import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { RawstorError } from '../../src/common/errors.js';
import { fill } from '../load.js';
import type { StartSubject } from '../types.js';
import { startCluster, VOLUME } from './cluster.js';

const LOST_TIMEOUT_MS = 60_000;

interface Info {
  members: { ostId: string; state: 'in-sync' | 'stale' }[];
}

/** The process of one OST below `rawstor up`. */
function ostPid(parent: number): number {
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const stat = readFileSync(`/proc/${name}/stat`, 'latin1');
      const itsParent = Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]);
      if (itsParent === parent && /\bost\b/.test(readFileSync(`/proc/${name}/cmdline`, 'latin1')))
        return Number(name);
    } catch {
      // It has ended meanwhile.
    }
  }
  throw new RawstorError('NOT_FOUND', 'no OST runs below this cluster', { where: `process ${parent}` });
}

/**
 * Before each run one OST is stopped until it has left the set, everything is written once more, and it goes on: while
 * the run lasts, which opens the volume again, or until that is done, it gets all of the volume again.
 */
export const startRawstorBehind: StartSubject = async (options) => {
  const ours = await startCluster('replicated3', options);
  const inSync = async () => {
    const info = await ours.run('rawstor-volume', ['info', VOLUME, '--output', 'json']);
    return (JSON.parse(info) as Info).members.filter(({ state }) => state === 'in-sync').length;
  };
  const until = async (count: number) => {
    for (const deadline = performance.now() + LOST_TIMEOUT_MS; ; await sleep(100)) {
      const now = await inSync();
      if (now === count) return;
      if (performance.now() < deadline) continue;
      throw new RawstorError('TIMEOUT', `${now} replicas are in sync, ${count} were waited for`);
    }
  };
  let runs = 0;
  let behind = 0;
  return {
    ...ours,
    name: 'rawstor copying',
    get remark() {
      return `the copy was still under way at the end of ${behind} of ${runs} runs`;
    },
    beforeRun: async () => {
      // Nobody has it open now, so that what is left of the last run is copied by this.
      if ((await inSync()) < 3) await ours.run('rawstor', ['recover']);
      await until(3);
      const pid = ostPid(ours.pids[0]!);
      process.kill(pid, 'SIGSTOP');
      try {
        await fill(ours.uri, { part: 0, parts: 1 }, 2 ** 20);
        await until(2);
        await fill(ours.uri, { part: 0, parts: 1 }, 2 ** 20);
      } finally {
        process.kill(pid, 'SIGCONT');
      }
    },
    afterRun: async () => {
      runs++;
      if ((await inSync()) < 3) behind++;
    },
  };
};
