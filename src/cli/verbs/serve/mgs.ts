import { resolve } from 'node:path';
import { runService } from '../../../common/lifecycle.js';
import { keepFilesPrivate } from '../../../common/private-files.js';
import { defineVerb } from '../../command.js';
import { address } from '../../options.js';
import {
  closeAll,
  knownCluster,
  openEnvironment,
  required,
  SERVER_OPTIONS,
} from '../../roles/environment.js';
import { MGS_PORT, STATUS_PORT } from './ports.js';

interface Options {
  dir?: string;
  listen?: string[];
  httpListen?: string;
  clusterId?: string;
}

/** Touched as it is used. Each of the connections a server may have holds 16 KiB of it while it waits. */
const POOL_BYTES = 96 * 1024 * 1024;

export const serveMgs = defineVerb<Options>({
  name: 'mgs',
  summary: 'serve the registry of servers and the status page',
  description:
    'Listens without authentication: only on networks that are trusted. Nothing needs it once it knows the map.',
  options: [
    SERVER_OPTIONS.dir,
    SERVER_OPTIONS.listen(MGS_PORT),
    {
      flags: '--http-listen <address>',
      help: `address of the status page and the metrics; tcp://127.0.0.1:${STATUS_PORT} when there is none`,
      parse: address,
    },
    { flags: '--cluster-id <id>', help: 'default: that of the first metadata server that registers' },
  ],
  examples: [
    { command: 'rawstor serve mgs --dir /srv/mgs --listen 10.0.0.1:7770', what: 'the registry of a cluster' },
    {
      command: 'rawstor serve mgs --dir /srv/mgs --http-listen 0.0.0.0:8080',
      what: 'with a public status page',
    },
  ],
  async run(context, _args, options) {
    keepFilesPrivate();
    const env = openEnvironment(context, 'mgs', POOL_BYTES);
    const start = async () => {
      // Loaded when it is served: other verbs start faster without it.
      const { startMgs } = await import('../../../mgs/index.js');
      const known = await knownCluster(context, env, { mds: [], mgs: [] });
      const section = known.config?.serve.mgs ?? {};
      const mgs = await startMgs({
        ...env,
        dir: resolve(required(options.dir ?? section.dir, '--dir', '`dir` under [serve-mgs]')),
        listen: options.listen ?? section.listen ?? [`tcp://127.0.0.1:${MGS_PORT}`],
        httpListen: options.httpListen ?? section['http-listen'] ?? `tcp://127.0.0.1:${STATUS_PORT}`,
        clusterId: options.clusterId ?? known.config?.clusterId,
      });
      return { mgs, close: () => closeAll([() => mgs.close(), () => env.io.close()]) };
    };
    const facts = ({ mgs }: Awaited<ReturnType<typeof start>>) => ({
      addresses: mgs.addresses,
      httpAddress: mgs.httpAddress,
    });
    return await runService(start, { log: env.log, facts });
  },
});
