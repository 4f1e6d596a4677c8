import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { needPackages } from '../packages.js';
import { type ServerProcess, startServer } from '../process.js';
import type { StartSubject } from '../types.js';
import { createImage } from './image.js';

const REPLICAS = 3;

/**
 * QEMU's own replication: a qemu-nbd whose quorum driver writes to three others over Unix sockets and
 * holds two equal answers for the truth. Reads go to the first child alone, as ours go to one replica.
 */
export const startQemuQuorum: StartSubject = async (options) => {
  needPackages('qemu-utils');
  const servers: ServerProcess[] = [];
  const children: unknown[] = [];
  for (let index = 0; index < REPLICAS; index++) {
    const dir = join(options.dir, `replica-${index}`);
    await mkdir(dir);
    const image = await createImage(dir, 'disk.raw', options.sizeBytes);
    const path = join(dir, 'nbd.sock');
    servers.push(
      await startServer(
        'qemu-nbd',
        [
          '--persistent',
          '--shared=4',
          '--format=raw',
          '--cache=writeback',
          `--socket=${path}`,
          '-x',
          'disk',
          image,
        ],
        { socketPath: path, cpu: options.cpu },
      ),
    );
    children.push({ driver: 'nbd', server: { type: 'unix', path }, export: 'disk' });
  }
  const socketPath = join(options.dir, 'nbd.sock');
  const quorum = { driver: 'quorum', 'vote-threshold': 2, 'read-pattern': 'fifo', children };
  servers.push(
    await startServer(
      'qemu-nbd',
      [
        '--persistent',
        '--shared=16',
        '--cache=writeback',
        `--socket=${socketPath}`,
        '-x',
        'disk',
        `json:${JSON.stringify(quorum)}`,
      ],
      { socketPath, cpu: options.cpu },
    ),
  );
  return {
    name: 'qemu quorum of 3',
    uri: `nbd+unix:///disk?socket=${socketPath}`,
    pids: servers.map((server) => server.pid),
    stop: async () => {
      for (const server of servers.reverse()) await server.stop();
    },
  };
};
