import { realpathSync, statSync } from 'node:fs';
import { basename } from 'node:path';
import { loadNative } from '../native/index.js';

/** Where the chunks of an OST are, as far as it says something of what may have been lost there. */
export interface Place {
  /** The file system as it is mounted now: another one, and what was not synced through that one before is gone. */
  readonly mount: string;
  /** The directory itself: another one is a copy, which may be older. */
  readonly directory: string;
}

/** Whose mounted file systems have a directory each in /sys/fs, by the device. */
const IN_SYS_FS = ['ext4', 'xfs', 'f2fs'];

/** @throws what the system says */
export function placeOf(path: string): Place {
  const { dev, ino, birthtimeNs } = statSync(path, { bigint: true });
  const handle = loadNative().fileHandle(path);
  const directory = typeof handle === 'string' ? handle : `${ino} ${birthtimeNs}`;
  return { mount: fileSystemIn(dev) ?? mountOf(path, dev), directory };
}

/**
 * The number of the file system's directory in sysfs, which is made when it is mounted and goes when it is unmounted everywhere; numbers are
 * not used again while the kernel lives. Null: it has none, or /sys is not there. The same in every mount namespace.
 */
function fileSystemIn(dev: bigint): string | null {
  const major = ((dev >> 8n) & 0xfffn) | ((dev >> 32n) & ~0xfffn);
  const minor = (dev & 0xffn) | ((dev >> 12n) & ~0xffn);
  try {
    const device = basename(realpathSync(`/sys/dev/block/${major}:${minor}`));
    for (const type of IN_SYS_FS) {
      const found = statSync(`/sys/fs/${type}/${device}`, { bigint: true, throwIfNoEntry: false });
      if (found !== undefined) return `${type} ${device} ${found.ino}`;
    }
  } catch {
    // No block device, or no /sys.
  }
  return null;
}

/** The mount: another number for the same file system in another mount namespace. */
function mountOf(path: string, dev: bigint): string {
  const native = loadNative();
  const unique = native.mountId(path, true);
  if (unique >= 0) return `mount ${unique}`;
  // Linux before 6.8: the number of a mount that has gone may come again.
  return `mount ${native.mountId(path, false)} of device ${dev}`;
}
