import { existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { execa } from 'execa';
import { until } from '../interop/cli/programs.js';
import type { Host } from '../interop/namespaces/hosts.js';

export type DiskKind = 'ext4' | 'xfs';

/** Images lie in memory: what is tested is what reaches them, not how fast. */
const IMAGES = '/dev/shm';
/** XFS takes no less than 300 MiB. */
const SIZE_MIB = { ext4: 192, xfs: 320 };
const FILLER = 'filler';

/**
 * A host's disk whose power can be cut: a real file system with a journal, on a loop device over an image.
 * The cut is the file system's own shutdown (the ioctl that xfstests has for this): from that moment on nothing
 * goes to the device any more, neither dirty pages nor the journal's, and after the next mount there is what had
 * reached it. What was only in the page cache is gone; what fdatasync has promised is there.
 */
export class TortureDisk {
  readonly path: string;
  private readonly host: Host;
  private readonly image: string;

  private constructor(host: Host, name: string) {
    this.host = host;
    this.path = join(host.dir, name);
    this.image = join(IMAGES, `rawstor-torture-${process.pid}-${host.pid}-${name}.img`);
  }

  static async make(
    host: Host,
    name: string,
    kind: DiskKind,
    sizeMiB = SIZE_MIB[kind],
  ): Promise<TortureDisk> {
    removeLeftOver();
    const disk = new TortureDisk(host, name);
    mkdirSync(disk.path);
    writeFileSync(disk.image, '');
    try {
      await execa('truncate', ['-s', `${sizeMiB}M`, disk.image]);
      await execa(`mkfs.${kind}`, ['-q', ...(kind === 'ext4' ? ['-m', '0'] : []), disk.image]);
      await disk.mount();
    } catch (error) {
      disk.remove();
      throw error;
    }
    return disk;
  }

  /** As seen from outside of the host's mount namespace. */
  get pathOutside(): string {
    return join(`/proc/${this.host.pid}/root`, this.path);
  }

  /** No later than at its return nothing reaches the device any more. */
  async cutPower(): Promise<void> {
    await this.host.command('xfs_io', '-x', '-c', 'shutdown', this.path);
  }

  /** Once those who used it have ended: the journal is replayed. */
  async powerOn(): Promise<void> {
    await until(async () => (await this.tried('umount', this.path)) === 0);
    await this.mount();
  }

  /** Writes back what one file has dirty, as the kernel may at any time. */
  async writeBack(file: string): Promise<void> {
    await this.host.command('sync', '-d', join(this.path, file));
  }

  /** Takes what is free, all but so much. */
  async fill(leaveBytes: number): Promise<void> {
    const { stdout } = await this.host.command('stat', '-f', '-c', '%a %S', this.path);
    const [blocks, blockBytes] = stdout.split(' ').map(Number);
    const fillBytes = blocks! * blockBytes! - leaveBytes;
    if (fillBytes > 0) await this.tried('fallocate', '-l', String(fillBytes), join(this.path, FILLER));
  }

  async free(): Promise<void> {
    await this.host.command('rm', '-f', join(this.path, FILLER));
  }

  remove(): void {
    rmSync(this.image, { force: true });
  }

  private async mount(): Promise<void> {
    await this.host.command('mount', '-o', 'loop,noatime', this.image, this.path);
  }

  private async tried(file: string, ...args: string[]): Promise<number> {
    return await this.host.command(file, ...args).then(
      () => 0,
      (error: { exitCode?: number }) => error.exitCode ?? -1,
    );
  }
}

/** Of runs that were killed: their mounts went with their namespaces. */
function removeLeftOver(): void {
  for (const file of readdirSync(IMAGES)) {
    const pid = /^rawstor-torture-(\d+)-/.exec(file)?.[1];
    if (pid !== undefined && !existsSync(`/proc/${pid}`)) rmSync(join(IMAGES, file), { force: true });
  }
}
