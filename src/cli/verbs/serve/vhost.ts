import { resolve } from 'node:path';
import { RawstorError } from '../../../common/errors.js';
import { runService } from '../../../common/lifecycle.js';
import { defineVerb } from '../../command.js';
import { openCluster } from '../../gateway/open-cluster.js';
import { listenForTrace } from '../../gateway/trace.js';
import { KEY_OPTIONS } from '../../keys.js';
import { wholeNumber } from '../../options.js';
import { openEnvironment, SERVER_OPTIONS } from '../../roles/environment.js';

interface Options {
  socketPath?: string;
  socketDir?: string;
  fd?: number;
  printCapabilities: boolean;
  queues?: number;
  standby: boolean;
  replace: boolean;
  control?: string;
  label?: Record<string, string>;
  mds?: string[];
  mgs?: string[];
  poolSize?: number;
  recoveryRate?: number;
}

export const serveVhost = defineVerb<Options>({
  name: 'vhost',
  summary: 'serve volumes to guests over vhost-user, through shared memory',
  description:
    'Each volume is open, and has a socket of its own, as long as this runs. A guest sees it as a virtio block device; its ' +
    'memory has to be shared (QEMU: memory-backend-memfd,share=on). Whoever may connect to the socket can read and ' +
    'write the volume. A process that was killed and is started again finds in the memory that the front-end keeps ' +
    'for it which requests were under way, and does them again. A volume that cannot be opened, or that another process has ' +
    'taken, is down by itself and tried again every few seconds; this ends when none is served.',
  arguments: [
    { name: 'volume', help: 'name; VOLUME@SNAPSHOT reads a snapshot', optional: true, variadic: true },
  ],
  options: [
    {
      flags: '--socket-path <path>',
      help: 'Unix socket to listen on, for one volume',
      conflicts: ['fd', 'socketDir'],
    },
    { flags: '--socket-dir <path>', help: 'directory of the sockets, VOLUME.vhost each (default: this one)' },
    {
      flags: '--fd <number>',
      help: 'descriptor of a socket that this was started with, connected or listening, for one volume',
      parse: wholeNumber(0, 1 << 20),
    },
    { flags: '--print-capabilities', help: 'tell what this can do as JSON, and end', default: false },
    { flags: '--queues <number>', help: 'most queues of a device (default: 16)', parse: wholeNumber(1, 16) },
    {
      flags: '--standby',
      help: 'where another process has the volume: wait until its guest is moved here',
      default: false,
    },
    {
      flags: '--replace',
      help: 'take the place of the process that serves these on the same sockets, which ends; guests notice a pause',
      default: false,
      conflicts: ['fd'],
    },
    { flags: '--control <path>', help: 'Unix socket for `rawstor top --trace`' },
    ...KEY_OPTIONS,
    SERVER_OPTIONS.label,
    SERVER_OPTIONS.mds,
    SERVER_OPTIONS.mgs,
    SERVER_OPTIONS.recoveryRate,
    SERVER_OPTIONS.poolSize,
  ],
  examples: [
    {
      command: 'rawstor vhost vm1 --socket-path /run/rawstor/vm1.vhost',
      what: 'one volume; `rawstor-volume attach vm1 --vhost --print qemu` tells how to start a guest on it',
    },
    {
      command: 'rawstor vhost vm1 --standby --socket-path /run/rawstor/vm1-in.vhost',
      what: 'for the QEMU that a guest is moved to',
    },
  ],
  async run(context, names, options) {
    if (options.printCapabilities) {
      const { CAPABILITIES } = await import('../../../vhost/index.js');
      process.stdout.write(`${JSON.stringify(CAPABILITIES, null, 2)}\n`);
      return 0;
    }
    if (names.length === 0) {
      throw new RawstorError('USAGE', 'no volume is named', { hint: 'see `rawstor-volume ls`' });
    }
    // Loaded when it is served: other verbs start faster without it.
    const { placesOf, VhostGateway } = await import('../../vhost/vhost-gateway.js');
    const { socketPath, fd, queues } = options;
    const only = fd === undefined ? socketPath && resolve(socketPath) : `fd:${fd}`;
    const places = placesOf(names, only, resolve(options.socketDir ?? '.'));
    const env = openEnvironment(context, 'vhost', options.poolSize);
    const start = async (stopping: AbortSignal) => {
      const facts = () => ({ name: 'rawstor-vhost', registered: null });
      const { cluster, closeBehind } = await openCluster(context, env, options, facts, stopping);
      const control = options.control === undefined ? null : await listenForTrace(resolve(options.control));
      const gateway = await VhostGateway.start({
        ...env,
        cluster,
        places,
        standby: options.standby,
        replace: options.replace,
        ...(queues === undefined ? {} : { queues }),
      });
      const close = () =>
        closeBehind({
          close: async () => {
            await control?.close();
            await gateway.close();
          },
        });
      return { gateway, close };
    };
    const facts = ({ gateway }: Awaited<ReturnType<typeof start>>) => ({
      places: gateway.places,
      ...(gateway.down.length > 0 ? { down: gateway.down } : {}),
    });
    return await runService(start, {
      log: env.log,
      facts,
      failed: ({ gateway }) => gateway.failed,
      done: ({ gateway }) => gateway.done,
    });
  },
});
