import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { Kind } from './peers/index.js';
import { spawnPinned, stopProcess, takesConnections } from './process.js';
import type { StartSubject, Subject } from './types.js';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const READY_TIMEOUT_MS = 30_000;
const VOLUME = 'bench';

interface Layout {
  replicas: number;
  /** Arguments of `rawstor`. */
  command: string[];
  location: string;
  socketPath: string;
}

/**
 * How our side is run. local: one process with metadata, OST and gateway, as on a host that has both disk
 * and guests. replicated3: every role a process of its own, all three replicas over TCP.
 */
function layoutOf(kind: Kind, dir: string): Layout {
  if (kind === 'replicated3') {
    const command = ['up', '--osts', '3', '--no-volume', '--dir', dir];
    return { replicas: 3, command, location: dir, socketPath: join(dir, 'nbd.sock') };
  }
  const mds = `unix:${join(dir, 'mds.sock')}`;
  const socketPath = join(dir, 'nbd.sock');
  const listen = [
    '--listen',
    `unix:${join(dir, 'ost.sock')}`,
    '--mds-listen',
    mds,
    '--nbd-listen',
    `unix:${socketPath}`,
  ];
  return {
    replicas: 1,
    command: ['serve', 'node', '--with-mds', '--dir', dir, ...listen],
    location: mds,
    socketPath,
  };
}

/**
 * Our side: a cluster on this machine with one volume. All that depends on the command line is in this file.
 * @param root another checkout, compiled, that this one is held against
 */
export function startRawstor(kind: Kind, root?: string): StartSubject {
  return async (options): Promise<Subject> => {
    const dist = join(root ?? ROOT, 'dist/cli');
    const program = join(dist, 'rawstor.js');
    if (!existsSync(program)) throw new Error(`${program} is not there: run \`npm run build\` first`);
    const { replicas, command, location, socketPath } = layoutOf(kind, options.dir);
    const cluster = spawnPinned(process.execPath, [program, ...command], options.cpu);
    let log = '';
    for (const stream of [cluster.stdout!, cluster.stderr!]) {
      stream.on('data', (chunk: Buffer) => (log = (log + chunk.toString()).slice(-4000)));
    }
    try {
      const create = ['create', VOLUME, '--size', `${options.sizeBytes}`, '--replicas', `${replicas}`];
      const alive = () => cluster.exitCode === null;
      await untilReady(() => rawstorVolume(dist, location, create), alive);
      await untilReady(async () => {
        if (!(await takesConnections(socketPath))) throw new Error(`nothing listens on ${socketPath}`);
      }, alive);
      return {
        name: root === undefined ? `rawstor ${kind}` : 'baseline',
        uri: `nbd+unix:///${VOLUME}?socket=${socketPath}`,
        pids: [cluster.pid!],
        stop: () => stopProcess(cluster),
      };
    } catch (error) {
      await stopProcess(cluster);
      throw new Error(`${(error as Error).message}\n${log}`);
    }
  };
}

/** @returns its stdout */
async function rawstorVolume(dist: string, location: string, args: readonly string[]): Promise<string> {
  const command = [join(dist, 'rawstor-volume.js'), '--location', location, ...args];
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
