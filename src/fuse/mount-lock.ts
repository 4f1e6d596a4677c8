import { createHash } from 'node:crypto';
import { readFileSync, readlinkSync, realpathSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { basename, dirname, join } from 'node:path';
import type { Clock } from '../common/clock.js';
import { asRawstorError, RawstorError } from '../common/errors.js';
import { rawstorMounts } from './mounts.js';

/** Whoever was unmounted may still be closing its volumes. */
const PATIENCE_MS = 10_000;
const RETRY_MS = 100;
/** The metadata server takes names of 255. */
const HOLDER_MAX = 220;

/** The directory as the kernel lists it, without links; one on which a dead process has left its mount cannot be asked itself. */
export function canonicalDirectory(directory: string): string {
  try {
    return realpathSync(directory);
  } catch {
    try {
      return join(realpathSync(dirname(directory)), basename(directory));
    } catch (error) {
      throw asRawstorError(error, directory);
    }
  }
}

/**
 * A directory's mount is one process at a time, so that the next is the same holder of its volumes and has them back at once. It is held
 * by a name of the network namespace, which the kernel frees with the process; the holder's name tells of that namespace, and of the
 * boot, so that no other machine, container or life of this one passes for it.
 */
export class MountLock {
  readonly holder: string;
  private readonly server: Server;

  private constructor(holder: string, server: Server) {
    this.holder = holder;
    this.server = server;
  }

  /** @param name who mounts. @throws RawstorError BUSY while another process has it */
  static async take(clock: Clock, directory: string, name: string): Promise<MountLock> {
    const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
    const place = [boot, readlinkSync('/proc/self/ns/net'), directory].join(' ');
    const hash = createHash('sha256').update(place).digest('hex').slice(0, 24);
    const untilMs = clock.nowMs() + (rawstorMounts().includes(directory) ? PATIENCE_MS / 10 : PATIENCE_MS);
    for (;;) {
      const server = await listening(`\0rawstor-mount-${hash}`);
      if (server !== null) return new MountLock(`${name.slice(0, HOLDER_MAX)} ${hash}`, server);
      if (clock.nowMs() >= untilMs) break;
      await clock.sleep(RETRY_MS);
    }
    throw new RawstorError('BUSY', 'a process that has mounted rawstor there still runs', {
      where: directory,
      hint: `umount ${directory}; after \`umount -l\` it ends when its files are closed`,
    });
  }

  release(): void {
    this.server.close();
  }
}

/** Null where somebody else has the address. */
function listening(path: string): Promise<Server | null> {
  return new Promise((resolve, reject) => {
    const server = createServer((socket) => socket.destroy());
    server.once('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EADDRINUSE') resolve(null);
      else reject(asRawstorError(error, path.slice(1)));
    });
    server.listen({ path }, () => {
      server.unref();
      resolve(server);
    });
  });
}
