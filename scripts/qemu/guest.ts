import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const RUN_GUEST = fileURLToPath(new URL('run-guest', import.meta.url));

export interface GuestOptions {
  /** What follows QEMU's `-drive`: `file=PATH` or `file=nbd+unix:///EXPORT?socket=PATH`; several are vda, vdb... */
  drive?: string | readonly string[];
  /** Socket path of a vhost-user-blk backend. */
  vhostUser?: string | readonly string[];
  /** Of its vhost-user devices: `num-queues=4,packed=on`. */
  vhostOptions?: string;
  /** Default 512. */
  memoryMiB?: number;
  /** A name in scripts/qemu/scenarios or the path of a file. */
  scenario: string;
  /** Variables of the scenario. */
  set?: Readonly<Record<string, string | number>>;
  /** After it the guest is ended with code 124. */
  timeoutMs: number;
  /** Lets the guest reboot; otherwise a reboot ends the run. */
  reboots?: boolean;
  /** For QEMU, at the end of its command line. */
  extraArgs?: readonly string[];
}

export interface GuestResult {
  /** The scenario's exit code; 124 timed out, 70 ended without a result, -1 killed. */
  code: number;
  /** Console, and messages of the emulator. */
  output: string;
  /** Last number of a `RECORD n` line: what load-phase told to be durable; 0 for none. */
  lastRecord: number;
  /** Hash of write-phase's list of sums, for verify-phase's SUMS. */
  sums: string | null;
}

export class GuestFailed extends Error {
  readonly result: GuestResult;
  constructor(scenario: string, result: GuestResult) {
    super(`guest ${scenario} ended with ${result.code}:\n${result.output.split('\n').slice(-40).join('\n')}`);
    this.result = result;
  }
}

/** A guest that runs in the background. */
export class RunningGuest {
  /** Settles when the guest has ended, however it did; never rejects for a failed scenario. */
  readonly result: Promise<GuestResult>;
  readonly #child: ChildProcess;
  readonly #lines: string[] = [];
  readonly #waiters = new Set<() => void>();
  #lastRecord = 0;
  #sums: string | null = null;
  #ended = false;

  constructor(options: GuestOptions) {
    // The emulator's files are in a folder of ours: after a kill nobody else removes them.
    const folder = mkdtempSync(join(tmpdir(), 'rawstor-guest-'));
    const child = spawn(RUN_GUEST, guestArguments(options), {
      env: { ...process.env, TMPDIR: folder },
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
    });
    this.#child = child;
    const onExit = () => this.kill();
    process.once('exit', onExit);
    for (const stream of [child.stdout!, child.stderr!]) {
      createInterface({ input: stream }).on('line', (line) => this.#line(line));
    }
    this.result = new Promise<GuestResult>((resolve, reject) => {
      child.once('error', reject);
      child.once('close', (code) => {
        this.#ended = true;
        process.off('exit', onExit);
        rmSync(folder, { recursive: true, force: true });
        for (const wake of this.#waiters) wake();
        resolve({
          code: code ?? -1,
          output: this.#lines.join('\n'),
          lastRecord: this.#lastRecord,
          sums: this.#sums,
        });
      });
    });
  }

  get lastRecord(): number {
    return this.#lastRecord;
  }

  /** The first console line, past or to come, that matches. Rejects when the guest ends or the time is over. */
  async waitForLine(pattern: RegExp, timeoutMs: number): Promise<string> {
    const found = await this.#until(() => this.#lines.find((line) => pattern.test(line)), timeoutMs);
    if (found !== undefined) return found;
    throw new Error(`guest wrote no ${pattern}:\n${this.#lines.slice(-40).join('\n')}`);
  }

  /** Waits until load-phase has told of this record. */
  async waitForRecord(record: number, timeoutMs: number): Promise<void> {
    const found = await this.#until(() => (this.#lastRecord >= record ? true : undefined), timeoutMs);
    if (found !== undefined) return;
    const end = this.#lines.slice(-40).join('\n');
    throw new Error(`guest stopped at record ${this.#lastRecord}, before ${record}:\n${end}`);
  }

  /** A power cut: the emulator ends at once, whatever it was doing. */
  kill(): void {
    if (this.#ended || this.#child.pid === undefined) return;
    try {
      process.kill(-this.#child.pid, 'SIGKILL');
    } catch {
      // It ended by itself meanwhile.
    }
  }

  #line(raw: string): void {
    const line = raw.replace(/\r$/, '');
    this.#lines.push(line);
    const record = /^RECORD (\d+)$/.exec(line);
    if (record) this.#lastRecord = Number(record[1]);
    const sums = /^guest: SUMS ([0-9a-f]{64}) /.exec(line);
    if (sums) this.#sums = sums[1]!;
    for (const wake of this.#waiters) wake();
  }

  async #until<T>(probe: () => T | undefined, timeoutMs: number): Promise<T | undefined> {
    const deadline = performance.now() + timeoutMs;
    for (;;) {
      const found = probe();
      const leftMs = deadline - performance.now();
      if (found !== undefined || this.#ended || leftMs <= 0) return found;
      await new Promise<void>((resolve) => {
        const wake = () => {
          clearTimeout(timer);
          this.#waiters.delete(wake);
          resolve();
        };
        const timer = setTimeout(wake, leftMs);
        this.#waiters.add(wake);
      });
    }
  }
}

export function startGuest(options: GuestOptions): RunningGuest {
  return new RunningGuest(options);
}

/** @throws GuestFailed unless the scenario ended with 0 */
export async function runGuest(options: GuestOptions): Promise<GuestResult> {
  const result = await startGuest(options).result;
  if (result.code !== 0) throw new GuestFailed(options.scenario, result);
  return result;
}

function guestArguments(options: GuestOptions): string[] {
  const list = ['--scenario', options.scenario, '--timeout', String(Math.ceil(options.timeoutMs / 1000))];
  for (const drive of [options.drive ?? []].flat()) list.push('--drive', drive);
  for (const socket of [options.vhostUser ?? []].flat()) list.push('--vhost-user', socket);
  if (options.vhostOptions !== undefined) list.push('--vhost-options', options.vhostOptions);
  if (options.memoryMiB !== undefined) list.push('--memory', String(options.memoryMiB));
  for (const [key, value] of Object.entries(options.set ?? {})) list.push('--set', `${key}=${value}`);
  if (options.reboots) list.push('--reboots');
  if (options.extraArgs?.length) list.push('--', ...options.extraArgs);
  return list;
}
