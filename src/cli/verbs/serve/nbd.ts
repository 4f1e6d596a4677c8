import { resolve } from 'node:path';
import type { ClusterConfig } from '../../../common/config.js';
import { newId } from '../../../common/ids.js';
import { runService } from '../../../common/lifecycle.js';
import { defineVerb } from '../../command.js';
import { nbdGateway } from '../../gateway/await-mds.js';
import { Gateway } from '../../gateway/gateway.js';
import { openCluster } from '../../gateway/open-cluster.js';
import { KEY_OPTIONS } from '../../keys.js';
import { address, list } from '../../options.js';
import { activatedSockets } from '../../roles/activation.js';
import { type KnownCluster, openEnvironment, required, SERVER_OPTIONS } from '../../roles/environment.js';

interface Options {
  listen?: string[];
  control?: string;
  standby?: boolean;
  label?: Record<string, string>;
  mds?: string[];
  mgs?: string[];
  poolSize?: number;
  recoveryRate?: number;
}

export const serveNbd = defineVerb<Options>({
  name: 'nbd',
  summary: 'serve all volumes of a cluster over NBD',
  description:
    'Each volume is an export by its name, opened when a client connects and closed some seconds after the last ' +
    'one has left. NBD has no authentication here: use a Unix socket, or only networks that are trusted. A client ' +
    'holds at most 32M of the memory for I/O buffers, less while others want some; one that holds much, and takes ' +
    'nothing for 10 s while others wait, is dropped. An MDS that is away when this starts is waited for, for 10 s or as ' +
    'long as --timeout says.',
  options: [
    {
      flags: '--listen <address>',
      help: 'address for NBD clients: unix:/PATH or tcp://HOST:10809; repeatable',
      parse: list(address),
    },
    { flags: '--control <path>', help: 'Unix socket for `rawstor-volume detach`' },
    {
      flags: '--standby',
      help: 'for guests that are moved: where another gateway has a volume, read it, and take it with the first write',
    },
    ...KEY_OPTIONS,
    SERVER_OPTIONS.label,
    SERVER_OPTIONS.mds,
    SERVER_OPTIONS.mgs,
    SERVER_OPTIONS.recoveryRate,
    SERVER_OPTIONS.poolSize,
  ],
  examples: [
    {
      command: 'rawstor serve nbd --listen unix:/run/rawstor/nbd.sock --mds 10.0.0.1:7771',
      what: 'for the guests of this machine',
    },
    { command: 'rawstor serve nbd -c /etc/rawstor/cluster.toml', what: 'as [serve-nbd] of the file says' },
  ],
  async run(context, _args, options) {
    const env = openEnvironment(context, 'nbd', options.poolSize);
    let section: NonNullable<ClusterConfig['serve']['nbd']> = {};
    let listen: string[] = [];
    const start = async (stopping: AbortSignal) => {
      const id = newId();
      const facts = ({ config }: KnownCluster) => {
        section = config?.serve.nbd ?? {};
        listen = required(
          options.listen ?? activatedSockets() ?? section.listen,
          '--listen',
          '`listen` under [serve-nbd]',
        );
        const registered = nbdGateway(id, listen, options.label);
        return { name: 'rawstor-nbd', registered, recoveryRate: section['recovery-rate'] };
      };
      const { cluster, mgs, closeBehind } = await openCluster(context, env, options, facts, stopping);
      const control = options.control ?? section.control;
      const gateway = await Gateway.start({
        ...env,
        cluster,
        standby: options.standby ?? section.standby ?? false,
        listen,
        id,
        mgs,
        ...(options.label === undefined ? {} : { labels: options.label }),
        ...(control === undefined ? {} : { controlPath: resolve(control) }),
      });
      const close = () => closeBehind(gateway);
      return { gateway, close };
    };
    const facts = ({ gateway }: Awaited<ReturnType<typeof start>>) => ({ addresses: gateway.addresses });
    return await runService(start, { log: env.log, facts });
  },
});
