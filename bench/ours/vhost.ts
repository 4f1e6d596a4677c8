import { join } from 'node:path';
import type { StartSubject, SubjectOptions } from '../types.js';
import { type Beside, startBeside } from './beside.js';
import { type Rawstor, startCluster, VOLUME } from './cluster.js';

/** The vhost-user server, as guests are served. Its O_DIRECT mode does not exist: the page cache is the OST's. */

/** As on a host that has both disk and guests. */
export async function startRawstorVhost(options: SubjectOptions): Promise<Rawstor> {
  const vhostPath = join(options.dir, `${VOLUME}.vhost`);
  const serve = ['--vhost', VOLUME, '--vhost-dir', options.dir];
  const ours = await startCluster('local', options, { serve, vhostPath });
  return { ...ours, name: 'rawstor vhost', remark: 'one process, OST and vhost server; buffered' };
}

export const startVhostApart = (options: SubjectOptions): Promise<Rawstor> =>
  apart(options, {
    name: 'rawstor vhost, OST apart',
    remark: 'two processes, OST and vhost server, with a Unix socket between them; buffered',
  });

/** OSTs over TCP, each a process. */
export const startVhostOver =
  (replicas: number): StartSubject =>
  (options) =>
    apart(options, {
      name: `rawstor vhost, ${replicas} copies`,
      remark: 'each OST a process, over TCP; buffered',
      layout: 'replicated3',
      create: ['--replicas', `${replicas}`],
    });

function apart(
  options: SubjectOptions,
  beside: Pick<Beside, 'name' | 'remark' | 'layout' | 'create'>,
): Promise<Rawstor> {
  const socketPath = join(options.dir, 'vhost.sock');
  const control = join(options.dir, 'vhost-control.sock');
  return startBeside(options, {
    ...beside,
    uri: `vhost:${socketPath}`,
    command: ['vhost', VOLUME, '--socket-path', socketPath, '--control', control],
    ready: { socketPath },
  });
}
