import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { execa } from 'execa';
import { begin, UpCluster } from '../cli/programs.js';

/** What a mount takes on this machine. */
export const CAN_MOUNT = existsSync('/dev/fuse') && process.geteuid?.() === 0;

/** A cluster of `rawstor up`, mounted by a process that may be killed. */
export class Mounted {
  readonly cluster: UpCluster;
  readonly dir: string;
  private process: ReturnType<typeof begin> | null = null;
  private said = '';

  private constructor(cluster: UpCluster, name: string) {
    this.cluster = cluster;
    this.dir = join(cluster.cwd, name);
    mkdirSync(this.dir, { recursive: true });
  }

  static async start(up: readonly string[] = [], mount: readonly string[] = []): Promise<Mounted> {
    const cluster = await UpCluster.start(up);
    return await Mounted.on(cluster, 'mnt', mount);
  }

  /** Another mount of the same cluster. */
  static async on(cluster: UpCluster, name: string, mount: readonly string[] = []): Promise<Mounted> {
    const mounted = new Mounted(cluster, name);
    await mounted.mount({}, ...mount);
    return mounted;
  }

  path(name: string): string {
    return join(this.dir, name);
  }

  /** What the mount process has logged. */
  get log(): string {
    return this.said;
  }

  get pid(): number {
    return this.process!.pid!;
  }

  async mount(env: Record<string, string> = {}, ...args: string[]): Promise<void> {
    const child = begin('cli/rawstor', ['mount', this.dir, '--foreground', ...args], {
      cwd: this.cluster.cwd,
      env,
    });
    this.process = child;
    let said = '';
    await new Promise<void>((resolve, reject) => {
      child.stderr!.on('data', (bytes: Buffer) => {
        said += bytes.toString();
        this.said += bytes.toString();
        if (said.includes('"ready"')) resolve();
      });
      child.then(() => reject(new Error(`mount ended: ${said}`)));
    });
  }

  /** @returns its exit code */
  async end(signal: NodeJS.Signals = 'SIGTERM'): Promise<number | undefined> {
    const { process: child } = this;
    this.process = null;
    child?.kill(signal);
    return (await child)?.exitCode;
  }

  /** A shell command in the directory; fails with what it said. */
  async sh(command: string, timeoutMs = 60_000): Promise<string> {
    const options = { cwd: this.dir, all: true, timeout: timeoutMs, forceKillAfterDelay: 1000 };
    const { all } = await execa('bash', ['-ec', `exec 2>&1; ${command}`], options);
    return all ?? '';
  }

  /** A shell command that has to fail. @returns what it said */
  async fails(command: string): Promise<string> {
    const options = { cwd: this.dir, all: true, timeout: 60_000, reject: false };
    const { all, exitCode } = await execa('bash', ['-ec', command], options);
    if (exitCode === 0) throw new Error(`did not fail: ${command}`);
    return all ?? '';
  }

  async remove(): Promise<void> {
    await this.end();
    await execa('umount', ['-l', this.dir], { reject: false });
    await this.cluster.remove();
  }
}
