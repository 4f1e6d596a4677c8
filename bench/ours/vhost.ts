import { join } from 'node:path';
import type { SubjectOptions } from '../types.js';
import { startBeside } from './beside.js';
import { type Rawstor, VOLUME } from './cluster.js';

/** The vhost-user server, as guests are served. Its O_DIRECT mode does not exist: the page cache is the OST's. */
export async function startRawstorVhost(options: SubjectOptions): Promise<Rawstor> {
  const socketPath = join(options.dir, 'vhost.sock');
  const control = join(options.dir, 'vhost-control.sock');
  return await startBeside(options, {
    name: 'rawstor vhost',
    uri: `vhost:${socketPath}`,
    remark: 'two processes, OST and vhost server; buffered',
    command: ['vhost', VOLUME, '--socket-path', socketPath, '--control', control],
    ready: { socketPath },
  });
}
