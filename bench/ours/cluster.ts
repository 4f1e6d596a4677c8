import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { RawstorError } from '../../src/common/errors.js';
import { spawnPinned, stopProcess, takesConnections } from '../process.js';
import type { StartSubject, Subject, SubjectOptions } from '../types.js';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const READY_TIMEOUT_MS = 30_000;
export const VOLUME = 'bench';

/**
 * How our side is run. local: one process with metadata, OST and gateway, as on a host that has both disk
 * and guests. replicated3: every role a process of its own, all three replicas over TCP.
 */
export type LayoutName = 'local' | 'replicated3';

interface Layout {
  replicas: number;
  /** Arguments of `rawstor`. */
  command: string[];
  location: string;
  socketPath: string;
}

export interface StartOptions {
  /** Another checkout, compiled, that this one is held against. */
  root?: string;
  /** More arguments for the servers. */
  serve?: readonly string[];
  /** Of the volume as a vhost-user device, which these make the server listen on, in place of its NBD export. */
  vhostPath?: string;
  /** More arguments for the volume. */
  create?: readonly string[];
}

/** Ours, with what some benchmarks ask for beside reads and writes. */
export interface Rawstor extends Subject {
  /** What `rawstor --location` takes. */
  readonly location: string;
  /** `rawstor` with these arguments. @returns its stdout */
  run(program: 'rawstor' | 'rawstor-volume', args: readonly string[]): Promise<string>;
}

function layoutOf(name: LayoutName, dir: string): Layout {
  if (name === 'replicated3') {
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
    '--control',
    join(dir, 'nbd-control.sock'),
  ];
  return {
    replicas: 1,
    command: ['serve', 'node', '--with-mds', '--dir', dir, ...listen],
    location: mds,
    socketPath,
  };
}

/** Our side: a cluster on this machine with one volume. All that depends on the command line is in this folder. */
export function startRawstor(layout: LayoutName, more: StartOptions = {}): StartSubject {
  return (options) => startCluster(layout, options, more);
}

/** @throws RawstorError UNAVAILABLE with the end of its log */
export async function startCluster(
  name: LayoutName,
  options: SubjectOptions,
  more: StartOptions = {},
): Promise<Rawstor> {
  const dist = join(more.root ?? ROOT, 'dist/cli');
  if (!existsSync(join(dist, 'rawstor.js'))) {
    throw new RawstorError('UNAVAILABLE', 'this checkout is not compiled', {
      where: dist,
      hint: 'run `npm run build` there first',
    });
  }
  const { replicas, command, location, socketPath } = layoutOf(name, options.dir);
  const args = [join(dist, 'rawstor.js'), ...command, ...(more.serve ?? [])];
  const cluster = spawnPinned(process.execPath, args, options.cpu);
  let log = '';
  for (const stream of [cluster.stdout!, cluster.stderr!]) {
    stream.on('data', (chunk: Buffer) => (log = (log + chunk.toString()).slice(-4000)));
  }
  const run: Rawstor['run'] = async (program, rest) => {
    const line = [join(dist, `${program}.js`), '--location', location, ...rest];
    return (await promisify(execFile)(process.execPath, line, { timeout: READY_TIMEOUT_MS })).stdout;
  };
  try {
    const create = ['create', VOLUME, '--size', `${options.sizeBytes}`, '--replicas', `${replicas}`];
    const alive = () => cluster.exitCode === null;
    await untilReady(() => run('rawstor-volume', [...create, ...(more.create ?? [])]), alive);
    await untilReady(async () => {
      const path = more.vhostPath ?? socketPath;
      if (!(await takesConnections(path))) throw new Error(`nothing listens on ${path}`);
    }, alive);
    return {
      name: more.root === undefined ? `rawstor ${name}` : 'baseline',
      uri:
        more.vhostPath === undefined
          ? `nbd+unix:///${VOLUME}?socket=${socketPath}`
          : `vhost:${more.vhostPath}`,
      pids: [cluster.pid!],
      location,
      run,
      stop: () => stopProcess(cluster),
    };
  } catch (error) {
    await stopProcess(cluster);
    const hint = log.trim().split('\n').at(-1);
    throw new RawstorError('UNAVAILABLE', `rawstor ${name} did not start: ${(error as Error).message}`, {
      hint,
    });
  }
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
