import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { isMounted } from '../process.js';
import type { SubjectOptions } from '../types.js';
import { startBeside } from './beside.js';
import { type Rawstor, VOLUME } from './cluster.js';

/** A file of a mount. */
export async function startRawstorMount(options: SubjectOptions): Promise<Rawstor> {
  const directory = join(options.dir, 'mount');
  await mkdir(directory);
  return await startBeside(options, {
    name: 'rawstor mount',
    uri: `file:${join(directory, VOLUME)}`,
    remark: 'two processes, OST and mount; buffered there',
    command: ['mount', directory, '--foreground', '--replicas', '1'],
    ready: { isReady: () => isMounted(directory) },
  });
}
