import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa, type ResultPromise } from 'execa';
import { until } from '../cli/programs.js';

const PRIVATE_LIBVIRTD = fileURLToPath(new URL('../../../scripts/qemu/private-libvirtd', import.meta.url));

const LOOK_MS = 500;

export interface Domain {
  readonly name: string;
  /** `<disk>` elements, the first is booted from. */
  readonly disks: readonly string[];
  /** Otherwise a reboot ends it. */
  readonly reboots?: boolean;
}

/** A libvirtd of a test's own, and guests that it starts. */
export class Libvirtd {
  private readonly dir: string;
  private readonly process: ResultPromise;

  private constructor(dir: string, process: ResultPromise) {
    this.dir = dir;
    this.process = process;
  }

  static async start(): Promise<Libvirtd> {
    const dir = mkdtempSync(join(tmpdir(), 'rawstor-libvirt-'));
    const child = execa(PRIVATE_LIBVIRTD, [dir], { reject: false, stdin: 'ignore', all: true });
    const ended = child.then(({ all }) => {
      throw new Error(`libvirtd has ended: ${all}`);
    });
    ended.catch(() => {});
    const libvirtd = new Libvirtd(dir, child as ResultPromise);
    await Promise.race([until(() => existsSync(join(dir, 'run/libvirt-sock'))), ended]);
    await libvirtd.virsh('version');
    return libvirtd;
  }

  async virsh(...args: string[]): Promise<string> {
    const uri = `qemu:///system?socket=${this.dir}/run/libvirt-sock`;
    return (await execa('virsh', ['-c', uri, ...args])).stdout;
  }

  /** Starts a guest and waits for the result of the scenario on its boot disk. @returns its console */
  async run(domain: Domain): Promise<{ code: number; output: string }> {
    const { name } = domain;
    const file = join(this.dir, `${name}.xml`);
    const console = join(this.dir, `${name}.console`);
    writeFileSync(file, domainXml(domain, console));
    await this.virsh('create', file);
    const result = () => /^RAWSTOR-RESULT: (\d+)\r?$/m.exec(readFileSync(console, 'utf8'));
    while ((await this.names()).includes(name)) await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
    const output = readFileSync(console, 'utf8');
    return { code: Number(result()?.[1] ?? -1), output };
  }

  async end(): Promise<void> {
    for (const name of await this.names()) await this.virsh('destroy', name).catch(() => {});
    this.process.kill('SIGTERM');
    await this.process;
    rmSync(this.dir, { recursive: true, force: true });
  }

  private async names(): Promise<string[]> {
    return (await this.virsh('list', '--name')).split('\n').filter((name) => name !== '');
  }
}

function domainXml({ name, disks, reboots = false }: Domain, console: string): string {
  return `<domain type='qemu'>
  <name>${name}</name>
  <memory unit='MiB'>512</memory>
  <vcpu>1</vcpu>
  <memoryBacking><source type='memfd'/><access mode='shared'/></memoryBacking>
  <os><type arch='x86_64' machine='q35'>hvm</type><boot dev='hd'/></os>
  <cpu mode='maximum'/>
  <on_reboot>${reboots ? 'restart' : 'destroy'}</on_reboot>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    ${disks.join('\n    ')}
    <serial type='file'><source path='${console}'/></serial>
    <memballoon model='none'/>
  </devices>
</domain>`;
}
