import { join } from 'node:path';
import { needPackages } from '../packages.js';
import { startServer } from '../process.js';
import type { StartSubject, Subject, SubjectOptions } from '../types.js';
import { createImage } from './image.js';

interface How {
  name: string;
  aio: 'threads' | 'io_uring' | 'native';
  direct: boolean;
  remark?: string;
}

/** qemu-storage-daemon is a part of this package. */
const PACKAGE = 'qemu-system-common';

async function start(options: SubjectOptions, how: How, exported: string, uri: string): Promise<Subject> {
  needPackages(PACKAGE);
  const image = await createImage(options.dir, 'disk.raw', options.sizeBytes);
  const socketPath = join(options.dir, 'qsd.sock');
  const cache = `cache.direct=${how.direct ? 'on' : 'off'},aio=${how.aio}`;
  const server = await startServer(
    'qemu-storage-daemon',
    [
      '--blockdev',
      `driver=file,node-name=disk,filename=${image},${cache}`,
      ...exported.replaceAll('SOCKET', socketPath).split(' '),
    ],
    { socketPath, cpu: options.cpu },
  );
  return {
    name: how.name,
    uri: uri.replace('SOCKET', socketPath),
    pids: [server.pid],
    ...(how.remark === undefined ? {} : { remark: how.remark }),
    stop: () => server.stop(),
  };
}

const VHOST =
  '--export type=vhost-user-blk,id=disk,node-name=disk,writable=on,num-queues=1,addr.type=unix,addr.path=SOCKET';
const NBD =
  '--nbd-server addr.type=unix,addr.path=SOCKET,max-connections=16 --export type=nbd,id=disk,node-name=disk,name=disk,writable=on';

const vhost =
  (how: How): StartSubject =>
  (options) =>
    start(options, how, VHOST, 'vhost:SOCKET');

export const startQsdNbd: StartSubject = (options) =>
  start(
    options,
    { name: 'qemu-storage-daemon', aio: 'threads', direct: false },
    NBD,
    'nbd+unix:///disk?socket=SOCKET',
  );

export const startQsdVhost = vhost({ name: 'qemu-storage-daemon threads', aio: 'threads', direct: false });

export const startQsdVhostUring = vhost({
  name: 'qemu-storage-daemon io_uring',
  aio: 'io_uring',
  direct: false,
});

export const startQsdVhostDirect = vhost({
  name: 'qemu-storage-daemon O_DIRECT',
  aio: 'native',
  direct: true,
  remark: 'O_DIRECT: the disk, not the page cache; rawstor has no such mode, so this is no like for like',
});
