import { join } from 'node:path';
import { startServer } from '../process.js';
import type { StartSubject, Subject, SubjectOptions } from '../types.js';
import { createImage } from './image.js';

/** Connections that a server takes at once; qemu-nbd's default of one refuses the load with four. */
const CLIENTS_MAX = 16;

async function start(name: string, extra: readonly string[], options: SubjectOptions): Promise<Subject> {
  const image = await createImage(options.dir, 'disk.raw', options.sizeBytes);
  const socketPath = join(options.dir, 'nbd.sock');
  const server = await startServer(
    'qemu-nbd',
    [
      '--persistent',
      `--shared=${CLIENTS_MAX}`,
      '--format=raw',
      ...extra,
      `--socket=${socketPath}`,
      '-x',
      'disk',
      image,
    ],
    { socketPath, cpu: options.cpu },
  );
  return {
    name,
    uri: `nbd+unix:///disk?socket=${socketPath}`,
    pids: [server.pid],
    stop: () => server.stop(),
  };
}

export const startQemuNbd: StartSubject = (options) => start('qemu-nbd', ['--cache=writeback'], options);

export const startQemuNbdUring: StartSubject = (options) =>
  start('qemu-nbd io_uring', ['--cache=writeback', '--aio=io_uring'], options);
