import { type ChildProcess, fork } from 'node:child_process';
import { closeSync, openSync, renameSync, statSync } from 'node:fs';
import type { Clock, Timer } from '../../common/clock.js';
import { ERROR_CODES, type ErrorCode, RawstorError } from '../../common/errors.js';
import type { ChildMessage, ParentMessage } from '../../common/lifecycle.js';
import { MiB } from '../../common/units.js';
import { programPath } from '../program-path.js';
import { BackOff } from './back-off.js';

export interface ChildSpec {
  readonly name: string;
  /** Arguments of `rawstor`. */
  readonly args: readonly string[];
  /** More of them when it is started again. */
  readonly againArgs?: readonly string[];
  readonly logFile: string;
}

const STOP_MS = 25_000;
const LOG_BYTES = 16 * MiB;

/**
 * Runs servers as processes of their own and starts those that end again. A child holds a channel to this
 * process and ends cleanly when that closes, however this process ends: none is ever left behind.
 */
export class Supervisor {
  private readonly clock: Clock;
  private readonly say: (text: string) => void;
  private readonly children: Child[] = [];
  private stopping = false;

  constructor(clock: Clock, say: (text: string) => void) {
    this.clock = clock;
    this.say = say;
  }

  /** Starts one. @returns what it tells of itself when ready @throws its RawstorError when it does not get there */
  async start(spec: ChildSpec): Promise<Record<string, unknown>> {
    if (this.stopping) throw new RawstorError('BUSY', `${spec.name} is not started: all is to stop`);
    const child = new Child(spec, this.clock, this.say);
    this.children.push(child);
    return await child.start();
  }

  pids(): Record<string, number> {
    return Object.fromEntries(this.children.map((child) => [child.spec.name, child.pid]));
  }

  /** The last started ends first; those of one kind together. */
  async stop(): Promise<void> {
    this.stopping = true;
    const kinds = [...new Set(this.children.map((child) => child.kind))].reverse();
    for (const kind of kinds) {
      await Promise.all(this.children.filter((child) => child.kind === kind).map((child) => child.stop()));
    }
  }

  /** What is left ends now, without a word. */
  kill(): void {
    for (const child of this.children) child.kill();
  }
}

class Child {
  readonly spec: ChildSpec;
  private readonly clock: Clock;
  private readonly say: (text: string) => void;
  private process: ChildProcess | null = null;
  private exited: Promise<void> = Promise.resolve();
  private restart: Timer | null = null;
  private stopping = false;
  private readonly backOff = new BackOff();

  constructor(spec: ChildSpec, clock: Clock, say: (text: string) => void) {
    this.spec = spec;
    this.clock = clock;
    this.say = say;
  }

  /** `ost` of `ost-2`. */
  get kind(): string {
    return this.spec.name.replace(/-\d+$/, '');
  }

  get pid(): number {
    return this.process?.pid ?? 0;
  }

  async start(again = false): Promise<Record<string, unknown>> {
    const { spec } = this;
    const args = [...spec.args, ...(again ? (spec.againArgs ?? []) : [])];
    const log = openLogFile(spec.logFile);
    let readyMs = 0;
    let child: ChildProcess;
    try {
      child = fork(programPath('rawstor').path, args, {
        stdio: ['ignore', log, log, 'ipc'],
        env: environment(),
      });
    } finally {
      closeSync(log);
    }
    this.process = child;
    let ended!: () => void;
    this.exited = new Promise((resolve) => {
      ended = resolve;
    });
    let ready = false;
    return await new Promise((resolve, reject) => {
      let failure: RawstorError | null = null;
      child.on('message', (message: ChildMessage) => {
        if (message.type === 'ready') {
          ready = true;
          readyMs = this.clock.nowMs();
          resolve(message.facts);
        } else failure = failureOf(message);
      });
      child.on('error', (error) => {
        failure ??= new RawstorError('OS_ERROR', `${spec.name} cannot be started: ${error.message}`);
        // Of a process that there never was nothing exits: the system had none left, or its program is being replaced.
        if (child.pid !== undefined) return;
        ended();
        reject(failure);
      });
      child.on('exit', (code, signal) => {
        ended();
        const how = signal === null ? `exit code ${code}` : `killed by ${signal}`;
        if (!ready) {
          const text = `${spec.name} ended before it was ready (${how})`;
          reject(failure ?? new RawstorError('INTERNAL', text, { where: `log: ${spec.logFile}` }));
        } else if (!this.stopping) this.again(how, this.clock.nowMs() - readyMs);
      });
    });
  }

  async stop(): Promise<void> {
    this.stopping = true;
    this.restart?.cancel();
    const child = this.process;
    if (child === null || child.exitCode !== null || child.signalCode !== null) return;
    const stop: ParentMessage = { type: 'stop' };
    // It may have ended meanwhile, which is all that is wanted.
    if (child.connected) child.send(stop, () => {});
    const late = this.clock.after(STOP_MS, () => {
      this.say(`${this.spec.name} does not end, killing it`);
      child.kill('SIGKILL');
    });
    await this.exited;
    late.cancel();
  }

  kill(): void {
    this.process?.kill('SIGKILL');
  }

  private again(how: string, servedMs: number): void {
    const delayMs = this.backOff.nextMs(servedMs);
    const { name, logFile } = this.spec;
    this.say(`${name} has ended (${how}); starting it again in ${delayMs / 1000} s. Log: ${logFile}`);
    this.restart = this.clock.after(delayMs, () => {
      this.start(true).then(
        () => this.say(`${name} is back`),
        (error: RawstorError) => {
          if (!this.stopping) this.again(error.message, 0);
        },
      );
    });
  }
}

/** Without what is meant for this process alone. */
function environment(): NodeJS.ProcessEnv {
  const { RAWSTOR_LOCATION, NOTIFY_SOCKET, LISTEN_FDS, LISTEN_PID, ...rest } = process.env;
  return rest;
}

function openLogFile(path: string): number {
  try {
    if (statSync(path).size > LOG_BYTES) renameSync(path, `${path}.1`);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
  return openSync(path, 'a', 0o600);
}

function failureOf(message: ChildMessage & { type: 'failed' }): RawstorError {
  const code = message.code in ERROR_CODES ? (message.code as ErrorCode) : 'INTERNAL';
  return new RawstorError(code, message.message, { where: message.where, hint: message.hint });
}
