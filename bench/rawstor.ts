import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { Kind } from './peers/index.js';
import { spawnPinned, stopProcess } from './process.js';
import type { StartSubject, Subject } from './types.js';

const DIST = fileURLToPath(new URL('../dist/cli/', import.meta.url));
const READY_TIMEOUT_MS = 30_000;
const VOLUME = 'bench';

/** Our side: a one-machine cluster with one volume. All that depends on the command line is in this file. */
export function startRawstor(kind: Kind): StartSubject {
  const replicas = kind === 'local' ? 1 : 3;
  return async (options): Promise<Subject> => {
    if (!existsSync(join(DIST, 'rawstor.js'))) throw new Error('not compiled: run `npm run build` first');
    const dir = join(options.dir, 'cluster');
    const cluster = spawnPinned(
      process.execPath,
      [join(DIST, 'rawstor.js'), 'up', '--osts', `${replicas}`, '--dir', dir],
      options.cpu,
    );
    let log = '';
    for (const stream of [cluster.stdout!, cluster.stderr!]) {
      stream.on('data', (chunk: Buffer) => (log = (log + chunk.toString()).slice(-4000)));
    }
    const volume = (...args: string[]) => rawstorVolume(dir, args);
    try {
      await untilReady(
        () => volume('create', VOLUME, '--size', `${options.sizeBytes}`, '--replicas', `${replicas}`),
        () => cluster.exitCode === null,
      );
      const uri = (await volume('attach', VOLUME, '--nbd', '--print', 'uri')).trim();
      return { name: `rawstor ${kind}`, uri, pids: [cluster.pid!], stop: () => stopProcess(cluster) };
    } catch (error) {
      await stopProcess(cluster);
      throw new Error(`${(error as Error).message}\n${log}`);
    }
  };
}

/** @returns its stdout */
async function rawstorVolume(location: string, args: readonly string[]): Promise<string> {
  const command = [join(DIST, 'rawstor-volume.js'), '--location', location, ...args];
  return (await promisify(execFile)(process.execPath, command, { timeout: READY_TIMEOUT_MS })).stdout;
}

/** A cluster refuses volumes until its servers have met. */
async function untilReady(attempt: () => Promise<unknown>, alive: () => boolean): Promise<void> {
  const deadline = performance.now() + READY_TIMEOUT_MS;
  for (;;) {
    try {
      await attempt();
      return;
    } catch (error) {
      if (!alive() || performance.now() > deadline) throw error;
      await sleep(300);
    }
  }
}
