import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { execa, type ResultPromise } from 'execa';
import { until } from '../cli/programs.js';

/** What it takes: root, and Debian's libvirt-daemon-system and libvirt-daemon-driver-qemu. */
export const HAS_LIBVIRT = process.geteuid?.() === 0 && existsSync('/usr/sbin/libvirtd');

/** Directories of libvirt's that are its own here: nothing of the machine's libvirt, if it has one, is touched. */
const PRIVATE = ['/run', '/var/lib/libvirt', '/var/cache/libvirt', '/var/log/libvirt', '/etc/libvirt'];

/**
 * A libvirtd and virtlogd in mount and process namespaces of their own, in which later mounts of the machine are seen. All its processes,
 * guests too, end with it. The shell is their first, and takes care of those whose parents have ended.
 */
export class Libvirtd {
  private readonly process: ResultPromise;
  private readonly pid: number;

  private constructor(process: ResultPromise, pid: number) {
    this.process = process;
    this.pid = pid;
  }

  static async start(cwd: string): Promise<Libvirtd> {
    const dir = join(cwd, 'libvirt');
    mkdirSync(dir);
    const script = [
      ...PRIVATE.map((each) => `mkdir -p ${each}; mount -t tmpfs -o mode=755 tmpfs ${each}`),
      'mkdir -p /run/libvirt /etc/libvirt/qemu /etc/libvirt/storage /var/lib/libvirt/images',
      'printf \'security_driver = "none"\\nnamespaces = []\\ncgroup_controllers = []\\n\' > /etc/libvirt/qemu.conf',
      'printf \'unix_sock_group = "root"\\nauth_unix_rw = "none"\\nlog_outputs = "2:file:/var/log/libvirt/d.log"\\n\' > /etc/libvirt/libvirtd.conf',
      'printf "" > /etc/libvirt/virtlogd.conf',
      'virtlogd -d',
      'libvirtd -f /etc/libvirt/libvirtd.conf',
    ];
    writeFileSync(join(dir, 'start.sh'), `set -e\n${script.join('\n')}\n`);
    const args = ['--mount', '--propagation', 'slave', '--pid', '--fork', '--kill-child', '--mount-proc'];
    const child = execa('unshare', [...args, 'bash', join(dir, 'start.sh')], {
      reject: false,
      stdin: 'ignore',
      all: true,
    });
    const ended = child.then(({ all }) => {
      throw new Error(`libvirtd has ended: ${all}`);
    });
    ended.catch(() => {});
    let inner = 0;
    const begun = until(async () => {
      const found = await execa('pgrep', ['-P', `${child.pid}`], { reject: false });
      inner = Number(found.stdout.split('\n')[0]);
      return inner > 0;
    });
    try {
      await Promise.race([begun, ended]);
      const libvirtd = new Libvirtd(child as ResultPromise, inner);
      await Promise.race([until(async () => (await libvirtd.try('uri')).exitCode === 0), ended]);
      return libvirtd;
    } catch (error) {
      // All in it ends with it.
      child.kill('SIGKILL');
      await child;
      throw error;
    }
  }

  /** What runs a command beside it. */
  get by(): string[] {
    return ['nsenter', '-t', `${this.pid}`, '-m', '-p', '-r', '-w'];
  }

  async try(...args: string[]) {
    return await this.run('virsh', '-q', '-c', 'qemu:///system', ...args);
  }

  /** A command of virsh that has to succeed. @returns what it prints */
  async virsh(...args: string[]): Promise<string> {
    const { exitCode, all = '', stdout } = await this.try(...args);
    if (exitCode !== 0) throw new Error(`virsh ${args.join(' ')}: ${all}`);
    return stdout.trim();
  }

  async run(...command: string[]) {
    const [file, ...args] = [...this.by, ...command];
    return await execa(file!, args, { reject: false, all: true, stdin: 'ignore', timeout: 240_000 });
  }

  async log(): Promise<string> {
    return (await this.run('tail', '-n', '30', '/var/log/libvirt/d.log')).stdout;
  }

  async stop(): Promise<void> {
    try {
      process.kill(this.pid, 'SIGKILL');
    } catch {
      // It has ended already.
    }
    await this.process;
  }
}
