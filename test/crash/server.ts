import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { programArgs, until } from '../interop/cli/programs.js';
import type { Host } from '../interop/namespaces/hosts.js';

/** One server of a cluster under torture: its process comes and goes, always picked by its pid. */
export class Server {
  readonly name: string;
  readonly host: Host;
  readonly logFile: string;
  private readonly command: readonly string[];
  private child: ChildProcess | null = null;
  private exited: Promise<number | null> = Promise.resolve(0);
  private starts = 0;
  frozen = false;

  /** @param root of another build than this one's */
  constructor(name: string, host: Host, program: string, args: readonly string[], root: string | null) {
    this.name = name;
    this.host = host;
    this.logFile = join(host.dir, `${name}.log`);
    const script = root === null ? programArgs(program) : [join(root, 'dist', `${program}.js`)];
    this.command = [...host.enter, 'setpriv', '--pdeathsig', 'KILL', process.execPath, ...script, ...args];
  }

  get running(): boolean {
    return this.child !== null && this.child.exitCode === null && this.child.signalCode === null;
  }

  /** Resolves when it is ready. @throws with its exit code and its last words */
  async start(): Promise<void> {
    await this.begin();
    const run = this.starts;
    await until(() => this.readyTimes() >= run || !this.running);
    if (!this.running && this.starts === run)
      throw new StartFailed(this.name, await this.exited, this.lastWords());
  }

  /** Does not wait until it is ready; when that is not to come, nothing says so. */
  async begin(): Promise<void> {
    await this.exited;
    const log = openSync(this.logFile, 'a');
    const [file, ...args] = this.command;
    const env = { PATH: process.env.PATH, HOME: this.host.dir, XDG_CONFIG_HOME: '', RAWSTOR_LOG: 'info' };
    const child = spawn(file!, args, { cwd: this.host.dir, env, stdio: ['ignore', log, log] });
    closeSync(log);
    this.child = child;
    this.starts = this.readyTimes() + 1;
    this.frozen = false;
    this.exited = new Promise((resolve) => child.once('close', (code) => resolve(code)));
  }

  /** Nothing that the process would do later happens. What it still holds is free a moment later: `ended`. */
  kill(): void {
    this.signal('SIGKILL');
  }

  freeze(): void {
    this.frozen = true;
    this.signal('SIGSTOP');
  }

  thaw(): void {
    this.frozen = false;
    this.signal('SIGCONT');
  }

  /** A clean end. @returns its exit code */
  async stop(): Promise<number | null> {
    this.thaw();
    this.signal('SIGTERM');
    return await this.exited;
  }

  ended(): Promise<number | null> {
    return this.exited;
  }

  lastWords(): string {
    return readFileSync(this.logFile, 'utf8').split('\n').slice(-12).join('\n');
  }

  private signal(signal: NodeJS.Signals): void {
    if (this.running) process.kill(this.child!.pid!, signal);
  }

  private readyTimes(): number {
    return readFileSync(this.logFile, 'utf8').split('"msg":"ready"').length - 1;
  }
}

export class StartFailed extends Error {
  readonly exitCode: number | null;

  constructor(name: string, exitCode: number | null, words: string) {
    super(`${name} ended with ${exitCode} before it was ready:\n${words}`);
    this.exitCode = exitCode;
  }
}
