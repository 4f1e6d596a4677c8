import { type ChildProcess, spawn } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { nbdUri } from '../../../src/nbd-server/index.js';

const SERVER = fileURLToPath(new URL('../../fixtures/nbd-memory-server.ts', import.meta.url));

/** The fixture server as a process of its own. */
export class Served {
  readonly dir: string;
  readonly address: string;
  private readonly child: ChildProcess;

  private constructor(dir: string, address: string, child: ChildProcess) {
    this.dir = dir;
    this.address = address;
    this.child = child;
  }

  static async start(...options: string[]): Promise<Served> {
    const dir = await mkdtemp(join(tmpdir(), 'rawstor-nbd-'));
    return await Served.startAt(dir, `unix:${join(dir, 'nbd.sock')}`, ...options);
  }

  static async startTcp(...options: string[]): Promise<Served> {
    const dir = await mkdtemp(join(tmpdir(), 'rawstor-nbd-'));
    return await Served.startAt(dir, 'tcp://127.0.0.1:0', ...options);
  }

  private static async startAt(dir: string, address: string, ...options: string[]): Promise<Served> {
    const child = spawn(process.execPath, ['--import', 'tsx', SERVER, address, '--checked', ...options], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const lines = createInterface({ input: child.stdout });
    const listening = await new Promise<string>((resolve, reject) => {
      lines.once('line', resolve);
      child.once('exit', (code) => reject(new Error(`the server ended with code ${code}`)));
    });
    return new Served(dir, listening, child);
  }

  uri(exportName = 'disk'): string {
    return nbdUri(this.address, exportName);
  }

  path(name: string): string {
    return join(this.dir, name);
  }

  /** @throws when the server did not end well */
  async stop(): Promise<void> {
    const code = await new Promise<number | null>((resolve) => {
      this.child.once('exit', resolve);
      this.child.kill('SIGTERM');
    });
    await rm(this.dir, { recursive: true, force: true });
    if (code !== 0) throw new Error(`the server ended with code ${code}`);
  }
}

/** Runs a tool; its standard output. Fails with all it said. */
export async function run(tool: string, ...args: string[]): Promise<string> {
  const { stdout } = await execa(tool, args, { timeout: 50_000, stdin: 'ignore' });
  return stdout;
}

/** Debian's Python, which is the one that libnbd's binding is built for. */
export async function python(script: string, ...args: string[]): Promise<string> {
  return await run('/usr/bin/python3', '-c', script, ...args);
}

export function hasTool(tool: string): boolean {
  return (process.env.PATH ?? '').split(delimiter).some((dir) => {
    try {
      accessSync(join(dir, tool), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}
