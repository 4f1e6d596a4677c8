import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { needPackages } from '../packages.js';
import { isMounted, startServer } from '../process.js';
import type { StartSubject } from '../types.js';
import { createImage } from './image.js';

/** Others that show a raw image, which lies in a file, as a file of a mount. */

/** Its storage daemon mounts on a file. */
export const startQsdFuse: StartSubject = async ({ dir, sizeBytes, cpu }) => {
  needPackages('qemu-system-common', 'fio');
  const image = await createImage(dir, 'disk.raw', sizeBytes);
  const point = await createImage(dir, 'shown', 0);
  const server = await startServer(
    'qemu-storage-daemon',
    [
      '--blockdev',
      `driver=file,node-name=disk,filename=${image},aio=io_uring`,
      '--export',
      `type=fuse,id=disk,node-name=disk,mountpoint=${point},writable=on`,
    ],
    { isReady: () => isMounted(point), cpu },
  );
  return {
    name: 'qemu-storage-daemon fuse',
    uri: `file:${point}`,
    pids: [server.pid],
    stop: () => server.stop(),
  };
};

/** Its own server behind it: nbdkit's file plugin. */
export const startNbdfuse: StartSubject = async ({ dir, sizeBytes, cpu }) => {
  needPackages('libnbd-bin', 'nbdkit', 'fio');
  const image = await createImage(dir, 'disk.raw', sizeBytes);
  const directory = join(dir, 'mount');
  await mkdir(directory);
  const server = await startServer(
    'nbdfuse',
    [directory, '--socket-activation', 'nbdkit', '--exit-with-parent', 'file', image],
    { isReady: () => isMounted(directory), cpu },
  );
  return {
    name: 'nbdfuse with nbdkit',
    uri: `file:${join(directory, 'nbd')}`,
    pids: [server.pid],
    remark: 'two processes, nbdfuse and nbdkit; buffered there',
    stop: () => server.stop(),
  };
};
