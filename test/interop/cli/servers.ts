import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'vitest';
import { begin, type Outcome, ownLoopback, run, temporaryDirectory, until } from './programs.js';

type Child = ReturnType<typeof begin>;

/** A cluster whose servers are started, killed and started again one by one, as on machines of their own. */
export class Servers {
  readonly cwd = temporaryDirectory();
  readonly host = ownLoopback();
  private readonly children = new Map<string, Child>();

  private constructor() {
    const { cwd, host } = this;
    writeFileSync(
      join(cwd, 'cluster.toml'),
      `mgs = ["${host}:7770"]\nmds = ["${host}:7771"]\n[gateway]\nnbd = ["unix:${cwd}/nbd.sock"]\ncontrol = "${cwd}/control.sock"\n`,
    );
  }

  /** MGS, MDS and OSTs, each OST on a host of its own by its label. */
  static async start(osts: number): Promise<Servers> {
    const servers = new Servers();
    await servers.serve('mgs', '--listen', `${servers.host}:7770`, '--http-listen', `${servers.host}:7772`);
    await servers.serveMds();
    await Promise.all(Array.from({ length: osts }, (_, i) => servers.serveOst(i + 1)));
    await until(async () => (await servers.osts()).filter(({ alive }) => alive).length === osts);
    return servers;
  }

  rawstor(...args: string[]): Promise<Outcome> {
    return run('cli/rawstor', ['-c', 'cluster.toml', ...args], { cwd: this.cwd });
  }

  volume(...args: string[]): Promise<Outcome> {
    return run('cli/rawstor-volume', ['-c', 'cluster.toml', ...args], { cwd: this.cwd });
  }

  /** A command that may be killed. */
  begin(...args: string[]): Child {
    return begin('cli/rawstor', ['-c', 'cluster.toml', ...args], { cwd: this.cwd });
  }

  async osts(): Promise<{ ostId: string; alive: boolean; draining: boolean }[]> {
    const { stdout } = await this.rawstor('ost', 'ls', '--output', 'json');
    return stdout === '' ? [] : JSON.parse(stdout);
  }

  serve(name: string, ...args: string[]): Promise<void> {
    return this.serveAt(['-c', 'cluster.toml'], name, ...args);
  }

  /** With another place of the cluster than the usual one. */
  async serveAt(place: readonly string[], name: string, ...args: string[]): Promise<void> {
    const role = name.replace(/-.*/, '');
    const dir = role === 'nbd' || role === 's3' ? [] : ['--dir', name];
    const child = begin('cli/rawstor', [...place, 'serve', role, ...dir, ...args], { cwd: this.cwd });
    this.children.set(name, child);
    let said = '';
    await new Promise<void>((resolve, reject) => {
      child.stderr!.on('data', (bytes: Buffer) => {
        said += bytes.toString();
        if (/ serves|serving|ready/.test(said)) resolve();
      });
      child.then(() => reject(new Error(`${name} ended: ${said}`)));
    });
  }

  serveMds(): Promise<void> {
    return this.serve('mds', '--listen', `${this.host}:7771`);
  }

  serveOst(index: number, ...args: string[]): Promise<void> {
    const place = ['--listen', `${this.host}:${7776 + index}`, '--label', `host=h${index}`];
    return this.serve(`ost-${index}`, ...place, ...args);
  }

  /** `kill -9`; what it held is free when resolved. */
  async kill(name: string): Promise<void> {
    const child = this.children.get(name)!;
    this.children.delete(name);
    child.kill('SIGKILL');
    await child;
  }

  ostId(index: number): string {
    return JSON.parse(readFileSync(join(this.cwd, `ost-${index}/rawstor-ost.json`), 'utf8')).serverId;
  }

  /** Which of them has this id. */
  indexOf(ostId: string, osts: number): number {
    return 1 + Array.from({ length: osts }, (_, i) => this.ostId(i + 1)).indexOf(ostId);
  }

  async remove(): Promise<void> {
    for (const child of this.children.values()) child.kill('SIGKILL');
    await Promise.all(this.children.values());
    this.children.clear();
    rmSync(this.cwd, { recursive: true, force: true });
  }
}

export async function done(outcome: Promise<Outcome>): Promise<Outcome> {
  const result = await outcome;
  expect(result, result.stderr).toMatchObject({ code: 0 });
  return result;
}

/** Deterministic, different everywhere. */
export function imageBytes(seed: number, sizeBytes: number): Buffer {
  const bytes = Buffer.alloc(sizeBytes);
  for (let at = 0; at < sizeBytes; at += 4)
    bytes.writeUInt32LE(Math.imul(at + 1, 2654435761 * (seed + 1)) >>> 0, at);
  return bytes;
}
