import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { startServer } from '../process.js';
import type { SubjectOptions } from '../types.js';
import { type Rawstor, startCluster, VOLUME } from './cluster.js';

const PROGRAM = fileURLToPath(new URL('../../dist/cli/rawstor.js', import.meta.url));

/**
 * The OST (with the metadata) and the vhost-user server, two processes with a Unix socket between them: that is how
 * guests are served. Its O_DIRECT mode does not exist: the page cache is the OST's.
 */
export async function startRawstorVhost(options: SubjectOptions): Promise<Rawstor> {
  const ours = await startCluster('local', options);
  const socketPath = join(options.dir, 'vhost.sock');
  const control = join(options.dir, 'vhost-control.sock');
  try {
    const server = await startServer(
      process.execPath,
      [
        PROGRAM,
        '--location',
        ours.location,
        'vhost',
        VOLUME,
        '--socket-path',
        socketPath,
        '--control',
        control,
      ],
      { socketPath, cpu: options.cpu },
    );
    return {
      ...ours,
      name: 'rawstor vhost',
      uri: `vhost:${socketPath}`,
      pids: [...ours.pids, server.pid],
      remark: 'two processes, OST and vhost server; buffered',
      stop: async () => {
        await server.stop();
        await ours.stop();
      },
    };
  } catch (error) {
    await ours.stop();
    throw error;
  }
}
