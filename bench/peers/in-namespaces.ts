import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { needPackages, needRoot } from '../packages.js';
import { startServer } from '../process.js';
import type { StartSubject } from '../types.js';

export interface ScriptedPeer {
  readonly name: string;
  readonly packages: readonly string[];
  /** In this folder; called with its folder and the volume's size, it ends in a server on nbd.sock there. */
  readonly script: string;
  readonly fillBlockBytes: number;
  readonly remark?: string;
}

const READY_TIMEOUT_MS = 90_000;
const here = (name: string) => fileURLToPath(new URL(name, import.meta.url));

/**
 * A cluster of several programs in namespaces of its own: ports, process ids, host name and what it writes to system
 * folders are nobody else's, and all of it ends when the first process of it does.
 */
export function scripted({ name, packages, script, fillBlockBytes, remark }: ScriptedPeer): StartSubject {
  return async (options) => {
    needRoot(name);
    needPackages(...packages);
    const socketPath = join(options.dir, 'nbd.sock');
    const spaces = ['--net', '--mount', '--pid', '--uts', '--ipc', '--fork', '--kill-child', '--mount-proc'];
    const server = await startServer(
      'unshare',
      [...spaces, 'bash', here(script), options.dir, `${options.sizeBytes}`],
      // unshare holds SIGTERM back; there is nothing to be put in order.
      { socketPath, cpu: options.cpu, readyTimeoutMs: READY_TIMEOUT_MS, stopSignal: 'SIGKILL' },
    );
    return {
      name,
      uri: `nbd+unix:///disk?socket=${socketPath}`,
      pids: [server.pid],
      fillBlockBytes,
      ...(remark === undefined ? {} : { remark }),
      stop: () => server.stop(),
    };
  };
}
