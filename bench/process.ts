import { type ChildProcess, spawn } from 'node:child_process';
import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

const READY_TIMEOUT_MS = 20_000;
const STOP_TIMEOUT_MS = 10_000;

export interface ServerProcess {
  readonly pid: number;
  stop(): Promise<void>;
}

/**
 * Starts a server and waits until its Unix socket takes connections.
 * @throws Error with what it wrote, when it ends or stays silent
 */
export async function startServer(
  command: string,
  args: readonly string[],
  options: { socketPath: string; cpu?: number | undefined },
): Promise<ServerProcess> {
  const child = spawnPinned(command, args, options.cpu);
  let stderr = '';
  child.stderr!.on('data', (chunk: Buffer) => {
    stderr = (stderr + chunk.toString()).slice(-4000);
  });
  let failure: string | null = null;
  child.once('error', (error) => (failure = error.message));
  child.once('exit', (code, signal) => (failure ??= `ended with ${code ?? signal}`));
  const deadline = performance.now() + READY_TIMEOUT_MS;
  while (!(await takesConnections(options.socketPath))) {
    if (failure !== null || performance.now() > deadline) {
      child.kill('SIGKILL');
      throw new Error(`${command}: ${failure ?? 'not ready in time'}: ${stderr}`);
    }
    await sleep(50);
  }
  let stopping = false;
  child.once('exit', (code, signal) => {
    if (!stopping) console.error(`${command} ended by itself with ${code ?? signal}: ${stderr}`);
  });
  return {
    pid: child.pid!,
    stop: () => {
      stopping = true;
      return stopProcess(child);
    },
  };
}

export function spawnPinned(command: string, args: readonly string[], cpu?: number): ChildProcess {
  const [program, ...rest] =
    cpu === undefined ? [command, ...args] : ['taskset', '-c', `${cpu}`, command, ...args];
  const child = spawn(program!, rest, { stdio: ['ignore', 'pipe', 'pipe'] });
  // taskset becomes the command: the process id stays.
  const onExit = () => child.kill('SIGKILL');
  process.once('exit', onExit);
  child.once('exit', () => process.off('exit', onExit));
  return child;
}

export async function stopProcess(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  child.kill('SIGTERM');
  const timer = setTimeout(() => child.kill('SIGKILL'), STOP_TIMEOUT_MS);
  await ended;
  clearTimeout(timer);
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
