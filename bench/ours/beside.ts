import { fileURLToPath } from 'node:url';
import { type ServerOptions, startServer } from '../process.js';
import type { SubjectOptions } from '../types.js';
import { type LayoutName, type Rawstor, startCluster } from './cluster.js';

const PROGRAM = fileURLToPath(new URL('../../dist/cli/rawstor.js', import.meta.url));

export interface Beside {
  readonly name: string;
  readonly uri: string;
  readonly remark: string;
  /** Arguments of `rawstor`, behind where the cluster is. */
  readonly command: readonly string[];
  readonly ready: Pick<ServerOptions, 'socketPath' | 'isReady'>;
  /** Of the cluster that it uses; else an OST with the metadata, on a Unix socket. */
  readonly layout?: LayoutName;
  /** More arguments for the volume. */
  readonly create?: readonly string[];
}

/** A cluster, and another server that is measured with it, a process of its own. */
export async function startBeside(options: SubjectOptions, beside: Beside): Promise<Rawstor> {
  const { name, uri, remark, command, ready, layout = 'local', create = [] } = beside;
  const ours = await startCluster(layout, options, { create });
  try {
    const args = [PROGRAM, '--location', ours.location, ...command];
    const server = await startServer(process.execPath, args, { ...ready, cpu: options.cpu });
    return {
      ...ours,
      name,
      uri,
      remark,
      pids: [...ours.pids, server.pid],
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
