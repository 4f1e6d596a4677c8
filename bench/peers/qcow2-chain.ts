import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { fill } from '../load.js';
import { CHAIN_PARTS } from '../ours/chain.js';
import { needPackages } from '../packages.js';
import type { StartSubject, Subject } from '../types.js';
import { startExport } from './qemu-nbd.js';

/** qcow2 files, each over the one before: an eighth of the blocks in each, in clusters of 4 KiB as ours copies them. */
export const startQcow2Chain: StartSubject = async (options) => {
  needPackages('qemu-utils');
  const path = (layer: number) => join(options.dir, `layer-${layer}.qcow2`);
  const create = (layer: number) =>
    promisify(execFile)('qemu-img', [
      'create',
      '-q',
      '-f',
      'qcow2',
      '-o',
      'cluster_size=4k',
      ...(layer === 0 ? [] : ['-F', 'qcow2', '-b', path(layer - 1)]),
      path(layer),
      ...(layer === 0 ? [`${options.sizeBytes}`] : []),
    ]);
  const open = (layer: number) =>
    startExport('qemu-nbd qcow2 chain', ['--format=qcow2', '--cache=writeback', path(layer)], options);
  await create(0);
  let top: Subject = await open(0);
  return {
    name: top.name,
    uri: top.uri,
    get pids() {
      return top.pids;
    },
    prepare: async () => {
      for (let part = 0; part < CHAIN_PARTS; part++) {
        if (part > 0) {
          await top.stop();
          await create(part);
          top = await open(part);
        }
        await fill(top.uri, { part, parts: CHAIN_PARTS });
      }
    },
    stop: () => top.stop(),
  };
};
