import { join } from 'node:path';
import { startServer } from '../process.js';
import type { StartSubject } from '../types.js';
import { createImage } from './image.js';

export const startNbdkitFile: StartSubject = async (options) => {
  const image = await createImage(options.dir, 'disk.raw', options.sizeBytes);
  const socketPath = join(options.dir, 'nbd.sock');
  const server = await startServer('nbdkit', ['--foreground', `--unix=${socketPath}`, 'file', image], {
    socketPath,
    cpu: options.cpu,
  });
  return {
    name: 'nbdkit file',
    uri: `nbd+unix:///?socket=${socketPath}`,
    pids: [server.pid],
    stop: () => server.stop(),
  };
};
