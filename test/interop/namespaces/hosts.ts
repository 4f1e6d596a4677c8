import { mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { execa } from 'execa';
import { begin, type Outcome, run, temporaryDirectory, until } from '../cli/programs.js';

/**
 * Hosts on one machine: network and mount namespaces of their own, joined by a bridge in one more. Nothing of
 * them has a name outside. Each lives as long as a process that ends with this one, in whatever way.
 */

const HOLD = ['--net', '--mount', 'cat'];

/** Only root may make namespaces, and not in every container. */
export async function canMakeNamespaces(): Promise<boolean> {
  const tried = await execa('unshare', ['--net', '--mount', 'true'], { reject: false });
  return tried.exitCode === 0;
}

export class Host {
  readonly address: string;
  readonly dir: string;
  private readonly holder = execa('unshare', HOLD, { stdin: 'pipe', reject: false });
  private readonly servers: ReturnType<typeof begin>[] = [];

  constructor(dir: string, address: string) {
    this.dir = dir;
    this.address = address;
    mkdirSync(dir);
  }

  get pid(): number {
    return this.holder.pid!;
  }

  /** Waits until the namespaces are there. */
  async ready(): Promise<void> {
    const net = (pid: number) => execa('readlink', [`/proc/${pid}/ns/net`]).then((link) => link.stdout);
    const own = await net(process.pid);
    await until(async () => (await net(this.pid)) !== own);
    await this.command('ip', 'link', 'set', 'lo', 'up');
  }

  command(file: string, ...args: string[]) {
    const [enter, ...by] = this.enter;
    return execa(enter!, [...by, file, ...args]);
  }

  run(program: string, ...args: string[]): Promise<Outcome> {
    return run(program, args, { cwd: this.dir, by: this.enter });
  }

  /** Starts a server and waits until it says that it is ready. @returns its process */
  async serve(program: string, ...args: string[]): Promise<number> {
    const child = begin(program, args, {
      cwd: this.dir,
      by: [...this.enter, 'setpriv', '--pdeathsig', 'TERM'],
    });
    this.servers.push(child);
    let log = '';
    child.stderr!.on('data', (bytes: Buffer) => {
      log += bytes.toString();
    });
    await until(() => log.includes('"ready"') || child.exitCode !== null);
    if (!log.includes('"ready"')) throw new Error(`${args.join(' ')} ended: ${log}`);
    return child.pid!;
  }

  /** Bytes that went over the host's link, both ways. */
  linkBytes(): number {
    const line = /^\s*eth0:\s*(.*)$/m.exec(readFileSync(`/proc/${this.pid}/net/dev`, 'utf8'));
    const fields = line![1]!.split(/\s+/).map(Number);
    return fields[0]! + fields[8]!;
  }

  /** A small disk of its own, seen by this host alone. */
  async mountDisk(name: string, sizeMiB: number): Promise<string> {
    const path = join(this.dir, name);
    mkdirSync(path);
    await this.command('mount', '-t', 'tmpfs', '-o', `size=${sizeMiB}M`, 'tmpfs', path);
    return path;
  }

  async end(): Promise<void> {
    for (const server of this.servers.reverse()) {
      server.kill('SIGTERM');
      await server;
    }
    this.holder.stdin!.end();
    await this.holder;
  }

  /** A command that runs another one on this host. */
  get enter(): string[] {
    // Another mount namespace forgets the working directory.
    return ['nsenter', '-t', String(this.pid), '--net', '--mount', `--wd=${this.dir}`, '--'];
  }
}

/** A few hosts and, in the middle, one with the switch between them. */
export class Hosts {
  readonly dir = temporaryDirectory();
  readonly middle = new Host(join(this.dir, 'middle'), '10.77.0.254');
  readonly all: readonly Host[];

  private constructor(count: number) {
    this.all = Array.from(
      { length: count },
      (_, i) => new Host(join(this.dir, `h${i + 1}`), `10.77.0.${i + 1}`),
    );
  }

  static async start(count: number): Promise<Hosts> {
    const hosts = new Hosts(count);
    try {
      await hosts.join();
      return hosts;
    } catch (error) {
      await hosts.end();
      throw error;
    }
  }

  async end(): Promise<void> {
    for (const host of [...this.all, this.middle]) await host.end();
    rmSync(this.dir, { recursive: true, force: true });
  }

  private async join(): Promise<void> {
    const { middle } = this;
    await Promise.all([middle, ...this.all].map((host) => host.ready()));
    const ip = (...args: string[]) => middle.command('ip', ...args);
    await ip('link', 'add', 'switch', 'type', 'bridge');
    await ip('addr', 'add', `${middle.address}/24`, 'dev', 'switch');
    await ip('link', 'set', 'switch', 'up');
    for (const [i, host] of this.all.entries()) {
      const port = `port${i + 1}`;
      await ip('link', 'add', port, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', String(host.pid));
      await ip('link', 'set', port, 'master', 'switch', 'up');
      await host.command('ip', 'addr', 'add', `${host.address}/24`, 'dev', 'eth0');
      await host.command('ip', 'link', 'set', 'eth0', 'up');
    }
  }
}
