import { constants } from 'node:fs';
import { RawstorError } from '../common/errors.js';
import { closeForeign, foreignFile } from '../io/index.js';

/**
 * File systems that are memory, or a disk of this machine, by statfs(2): tmpfs with memfds, hugetlbfs, ramfs, ext, XFS, Btrfs, F2FS, ZFS.
 * Touching memory of any other may wait for as long as another process, or another machine, likes: FUSE, what lies over it, NFS.
 */
const FILE_SYSTEMS = new Set([
  0x01021994, 0x958458f6, 0x858458f6, 0xef53, 0x58465342, 0x9123683e, 0xf2f52010, 0x2fc12fc1,
]);

/** Work with descriptors that a front-end has passed, which takes as long as it likes: it waits, and nobody else. */
export class PassedFiles {
  private working = 0;
  private readonly waiting: (() => void)[] = [];

  /** So many are not done. */
  get count(): number {
    return this.working;
  }

  async close(fds: readonly number[]): Promise<void> {
    if (fds.length > 0) await this.during(closeForeign(fds));
  }

  /** Their memory may be mapped and touched. @throws RawstorError INVALID, OS_ERROR */
  async check(fds: readonly number[]): Promise<void> {
    const found = await this.during(Promise.all(fds.map((fd) => foreignFile(fd))));
    for (const { kind, fileSystem } of found) {
      if (kind === constants.S_IFREG && FILE_SYSTEMS.has(fileSystem)) continue;
      const what = kind === constants.S_IFREG ? `on a file system 0x${fileSystem.toString(16)}` : 'no file';
      throw new RawstorError('INVALID', `memory was passed that is ${what}`, {
        hint: 'share memory of memfds, of /dev/shm, of huge pages, or of files on a disk of this machine',
      });
    }
  }

  async during<T>(work: Promise<T>): Promise<T> {
    this.working++;
    try {
      return await work;
    } finally {
      this.working--;
      if (this.working === 0) for (const resolve of this.waiting.splice(0)) resolve();
    }
  }

  async whenDone(): Promise<void> {
    while (this.working > 0) await new Promise<void>((resolve) => this.waiting.push(resolve));
  }
}
