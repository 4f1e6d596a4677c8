import { type ChildProcess, spawn } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { RawstorError } from '../src/common/errors.js';

const READY_TIMEOUT_MS = 20_000;
const STOP_TIMEOUT_MS = 10_000;

export interface ServerProcess {
  readonly pid: number;
  stop(): Promise<void>;
}

export interface ServerOptions {
  /** Where it listens when it is ready; or what else tells that it is. */
  socketPath?: string;
  isReady?: () => Promise<boolean>;
  cpu?: number | undefined;
  readyTimeoutMs?: number;
  /** SIGTERM, unless it has nothing to put in order. */
  stopSignal?: NodeJS.Signals;
  env?: Record<string, string>;
}

/** All that is running of what was started here. */
const running = new Set<ChildProcess>();

/**
 * Starts a server and waits until its Unix socket takes connections, or it is ready otherwise.
 * @throws RawstorError UNAVAILABLE with what it wrote, when it ends or stays silent
 */
export async function startServer(
  command: string,
  args: readonly string[],
  options: ServerOptions,
): Promise<ServerProcess> {
  const child = spawnPinned(command, args, options.cpu, options.env);
  let said = '';
  for (const stream of [child.stdout!, child.stderr!]) {
    stream.on('data', (chunk: Buffer) => (said = (said + chunk.toString()).slice(-4000)));
  }
  let failure: string | null = null;
  child.once('error', (error) => (failure = error.message));
  child.once('exit', (code, signal) => (failure ??= `ended with ${code ?? signal}`));
  const deadline = performance.now() + (options.readyTimeoutMs ?? READY_TIMEOUT_MS);
  const { isReady = () => takesConnections(options.socketPath!) } = options;
  while (!(await isReady())) {
    if (failure !== null || performance.now() > deadline) {
      child.kill('SIGKILL');
      const told = said.trim().split('\n').slice(-3).join(' ');
      throw new RawstorError('UNAVAILABLE', `${command} ${failure ?? 'is not ready in time'}: ${told}`);
    }
    await sleep(50);
  }
  let stopping = false;
  child.once('exit', (code, signal) => {
    if (!stopping) console.error(`${command} ended by itself with ${code ?? signal}: ${said}`);
  });
  return {
    pid: child.pid!,
    stop: () => {
      stopping = true;
      return stopProcess(child, options.stopSignal);
    },
  };
}

export function spawnPinned(
  command: string,
  args: readonly string[],
  cpu?: number,
  env?: Record<string, string>,
): ChildProcess {
  const [program, ...rest] =
    cpu === undefined ? [command, ...args] : ['taskset', '-c', `${cpu}`, command, ...args];
  const child = spawn(program!, rest, {
    stdio: ['ignore', 'pipe', 'pipe'],
    ...(env === undefined ? {} : { env: { ...process.env, ...env } }),
  });
  // taskset becomes the command: the process id stays.
  const onExit = () => child.kill('SIGKILL');
  process.once('exit', onExit);
  running.add(child);
  child.once('exit', () => {
    process.off('exit', onExit);
    running.delete(child);
  });
  return child;
}

export async function stopProcess(child: ChildProcess, signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  child.kill(signal);
  const timer = setTimeout(() => child.kill('SIGKILL'), STOP_TIMEOUT_MS);
  await ended;
  clearTimeout(timer);
}

/** Ends everything that was started: some have processes of their own to end, so each is asked first. */
export async function stopAll(): Promise<void> {
  await Promise.all([...running].map((child) => stopProcess(child)));
}

/** Something is mounted on the file or directory. */
export async function isMounted(path: string): Promise<boolean> {
  return (await readFile('/proc/self/mounts', 'utf8')).includes(` ${path} `);
}

export function takesConnections(socketPath: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(socketPath);
    socket.once('error', () => resolve(false));
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
  });
}
