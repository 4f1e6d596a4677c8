import { closeSync, fstatSync, openSync, rmSync, statSync } from 'node:fs';
import { getSystemErrorName } from 'node:util';
import { asRawstorError, RawstorError } from '../../common/errors.js';
import { loadNative } from '../../native/index.js';

/** File systems that have no locks: NFS without its lock daemon, some of FUSE. */
const NO_LOCKS = new Set([-37, -38, -95, -22]);
const TAKEN = new Set([-11, -13]);

/**
 * Makes a file while nobody else does, whatever process that is. The lock is on a file beside it: qemu-img has locks of its own on
 * what it writes. It goes with its holder, however that ends; where there are no locks, the work is done without.
 * @throws RawstorError BUSY
 */
export async function alone<T>(file: string, work: () => Promise<T>): Promise<T> {
  const path = `${file}.lock`;
  const fd = lock(path, file);
  try {
    return await work();
  } finally {
    // While it is held: who has opened it by now sees that it is not the one of that name.
    rmSync(path, { force: true });
    closeSync(fd);
  }
}

function lock(path: string, file: string): number {
  for (;;) {
    let fd: number;
    try {
      fd = openSync(path, 'a');
    } catch (error) {
      throw asRawstorError(error, path);
    }
    const result = loadNative().lockExclusive(fd);
    if (NO_LOCKS.has(result)) return fd;
    if (result === 0 && statSync(path, { throwIfNoEntry: false })?.ino === fstatSync(fd).ino) return fd;
    closeSync(fd);
    if (result === 0) continue;
    if (!TAKEN.has(result)) {
      throw new RawstorError('OS_ERROR', `it cannot be locked: ${getSystemErrorName(result)}`, {
        where: path,
      });
    }
    throw new RawstorError('BUSY', 'another export to this file is under way', {
      where: file,
      hint: 'wait for it, or choose another file',
    });
  }
}
