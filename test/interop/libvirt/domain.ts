import { chmodSync, copyFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { until } from '../cli/programs.js';
import type { Libvirtd } from './libvirtd.js';

const SCRIPTS = fileURLToPath(new URL('../../../scripts/qemu', import.meta.url));

const LOOK_MS = 50;
/** Between two questions to libvirt. */
const LOOKS_OF_STATE = 100;

export interface DomainOptions {
  readonly name: string;
  /** `<disk>` elements. */
  readonly disks: readonly string[];
  /** One of scripts/qemu, which it is started with. Without one it boots from its first disk, which make-boot-disk has put one on. */
  readonly scenario?: string;
  /** Variables of the scenario. */
  readonly set?: Readonly<Record<string, string | number>>;
  /** Otherwise a reboot ends it. */
  readonly reboots?: boolean;
  /** Without it what the scenario needs, or what a kernel of its own disk does. */
  readonly memoryMiB?: number;
  readonly cpus?: number;
}

/** A guest of libvirt's that runs a scenario. */
export class Domain {
  readonly name: string;
  private readonly libvirtd: Libvirtd;
  readonly console: string;

  private constructor(libvirtd: Libvirtd, name: string, console: string) {
    this.libvirtd = libvirtd;
    this.name = name;
    this.console = console;
  }

  /** One that others start, with this console. */
  static known(libvirtd: Libvirtd, cwd: string, name: string): Domain {
    const dir = join(cwd, `domain-${name}`);
    mkdirSync(dir, { recursive: true });
    for (const each of [cwd, dir]) chmodSync(each, 0o755);
    writeFileSync(join(dir, 'console'), '');
    chmodSync(join(dir, 'console'), 0o666);
    return new Domain(libvirtd, name, join(dir, 'console'));
  }

  static async start(libvirtd: Libvirtd, cwd: string, options: DomainOptions): Promise<Domain> {
    const domain = Domain.known(libvirtd, cwd, options.name);
    const dir = dirname(domain.console);
    if (options.scenario !== undefined) await makeKernel(dir, options.scenario, options.set ?? {});
    for (const disk of options.disks) letConnect(disk);
    writeFileSync(join(dir, 'domain.xml'), xmlOf(options, dir));
    await libvirtd.virsh('define', join(dir, 'domain.xml'));
    await libvirtd.virsh('start', options.name);
    return domain;
  }

  get said(): string {
    return existsSync(this.console) ? readFileSync(this.console, 'utf8').replaceAll('\r', '') : '';
  }

  /** The newest record that it told to be durable. */
  get lastRecord(): number {
    return Number([...this.said.matchAll(/^RECORD (\d+)$/gm)].at(-1)?.[1] ?? 0);
  }

  /** Waits until it has got on by some records; fails with what it said where it runs no more. */
  async getsOn(): Promise<void> {
    const from = this.lastRecord;
    for (let looks = 1; this.lastRecord <= from + 8; looks++) {
      await sleep(LOOK_MS);
      if (looks % LOOKS_OF_STATE !== 0) continue;
      const state = await this.libvirtd.virsh('domstate', this.name, '--reason');
      if (state.startsWith('running')) continue;
      throw new Error(`${this.name} is ${state}: ${this.said.slice(-2000)}\n${await this.libvirtd.log()}`);
    }
  }

  /** @returns the result of its scenario, when it has switched itself off */
  async ends(): Promise<number> {
    await until(async () => (await this.libvirtd.virsh('domstate', this.name)).startsWith('shut off'));
    return Number(/^RAWSTOR-RESULT: (\d+)$/m.exec(this.said)?.[1] ?? -1);
  }

  virsh(verb: string, ...args: string[]): Promise<string> {
    return this.libvirtd.virsh(verb, this.name, ...args);
  }
}

/** Kernel and initramfs, in a directory. */
async function makeKernel(
  dir: string,
  scenario: string,
  set: Readonly<Record<string, string | number>>,
): Promise<void> {
  const { stdout: kernel } = await execa(join(SCRIPTS, 'fetch-kernel'));
  const { stdout: base } = await execa(join(SCRIPTS, 'make-initrd'));
  copyFileSync(join(kernel, 'vmlinuz'), join(dir, 'vmlinuz'));
  mkdirSync(join(dir, 'tree'), { recursive: true });
  copyFileSync(join(SCRIPTS, 'scenarios', scenario), join(dir, 'tree/scenario'));
  const variables = Object.entries(set).map(([key, value]) => `${key}='${value}'\n`);
  writeFileSync(join(dir, 'tree/env'), variables.join(''));
  const pack = `{ cat ${base}; cd ${dir}/tree; find scenario env | cpio -o -H newc --quiet | gzip -1; } > ${dir}/initrd`;
  await execa('bash', ['-ec', pack]);
}

/** QEMU runs as a user of its own here, as it does for everybody: whoever serves a socket says that it may connect. */
function letConnect(disk: string): void {
  for (const [, socket] of disk.matchAll(/ (?:socket|path)='([^']+)'/g)) {
    chmodSync(dirname(socket!), 0o755);
    chmodSync(socket!, 0o666);
  }
}

function xmlOf(options: DomainOptions, dir: string): string {
  const { name, disks, scenario, reboots = false, cpus = 1 } = options;
  const memoryMiB = options.memoryMiB ?? (scenario === undefined ? 512 : 256);
  const boot =
    scenario === undefined
      ? "<boot dev='hd'/>"
      : `<kernel>${dir}/vmlinuz</kernel>
    <initrd>${dir}/initrd</initrd>
    <cmdline>console=ttyS0 quiet panic=-1 nohz=off</cmdline>`;
  return `<domain type='qemu'>
  <name>${name}</name>
  <memory unit='MiB'>${memoryMiB}</memory>
  <memoryBacking><source type='memfd'/><access mode='shared'/></memoryBacking>
  <vcpu>${cpus}</vcpu>
  <os>
    <type arch='x86_64' machine='q35'>hvm</type>
    ${boot}
  </os>
  <cpu mode='maximum'/>
  <on_reboot>${reboots ? 'restart' : 'destroy'}</on_reboot>
  <devices>
    <serial type='file'><source path='${dir}/console' append='on'/></serial>
    ${disks.join('\n    ')}
  </devices>
</domain>
`;
}
