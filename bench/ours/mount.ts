import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { isMounted, startServer } from '../process.js';
import type { SubjectOptions } from '../types.js';
import { type Rawstor, startCluster, VOLUME } from './cluster.js';

const PROGRAM = fileURLToPath(new URL('../../dist/cli/rawstor.js', import.meta.url));

/** The OST (with the metadata) and the mount, two processes with a Unix socket between them. */
export async function startRawstorMount(options: SubjectOptions): Promise<Rawstor> {
  const ours = await startCluster('local', options);
  const directory = join(options.dir, 'mount');
  await mkdir(directory);
  const args = [PROGRAM, '--location', ours.location, 'mount', directory, '--foreground', '--replicas', '1'];
  try {
    const isReady = () => isMounted(directory);
    const server = await startServer(process.execPath, args, { isReady, cpu: options.cpu });
    return {
      ...ours,
      name: 'rawstor mount',
      uri: `file:${join(directory, VOLUME)}`,
      pids: [...ours.pids, server.pid],
      remark: 'two processes, OST and mount; buffered there',
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
