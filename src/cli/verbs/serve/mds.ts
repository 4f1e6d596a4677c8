import { resolve } from 'node:path';
import { runService } from '../../../common/lifecycle.js';
import { keepFilesPrivate } from '../../../common/private-files.js';
import { parseDurationMs } from '../../../common/units.js';
import { defineVerb } from '../../command.js';
import { id } from '../../options.js';
import {
  closeAll,
  knownCluster,
  openEnvironment,
  required,
  SERVER_OPTIONS,
} from '../../roles/environment.js';
import { MDS_PORT } from './ports.js';

interface Options {
  dir?: string;
  listen?: string[];
  advertise?: string[];
  label?: Record<string, string>;
  mgs?: string[];
  clusterId?: string;
  replaceAfter?: number;
  existing: boolean;
}

/** Touched as it is used. Each of the connections a server may have holds 16 KiB of it while it waits. */
const POOL_BYTES = 96 * 1024 * 1024;

export const serveMds = defineVerb<Options>({
  name: 'mds',
  summary: 'serve the metadata of a cluster',
  description: 'Listens without authentication: only on networks that are trusted.',
  options: [
    SERVER_OPTIONS.dir,
    SERVER_OPTIONS.listen(MDS_PORT),
    SERVER_OPTIONS.advertise,
    SERVER_OPTIONS.label,
    SERVER_OPTIONS.mgs,
    {
      flags: '--replace-after <time>',
      help: 'how long an OST may be away before it is replaced where there is room; 0: never; default: 1h',
      parse: parseDurationMs,
    },
    {
      flags: '--cluster-id <id>',
      help: 'id of a new cluster; default: made up at the first start',
      parse: id,
    },
    {
      flags: '--existing',
      help: 'begin no new cluster: refuse a directory that is empty, as when a disk was not mounted',
      default: false,
    },
  ],
  examples: [
    {
      command: 'rawstor serve mds --dir /srv/mds --listen 10.0.0.1:7771',
      what: 'the metadata server of a cluster',
    },
    { command: 'rawstor serve mds --dir /srv/mds --mgs 10.0.0.1:7770', what: 'known to a management server' },
  ],
  async run(context, _args, options) {
    keepFilesPrivate();
    const env = openEnvironment(context, 'mds', POOL_BYTES);
    const start = async () => {
      // Loaded when it is served: other verbs start faster without it.
      const { startMds } = await import('../../../mds/index.js');
      // Its own addresses may be the location: it is not asked over the network.
      const known = await knownCluster(context, env, { mds: [], ...options });
      const section = known.config?.serve.mds ?? {};
      const mds = await startMds({
        ...env,
        dir: resolve(required(options.dir ?? section.dir, '--dir', '`dir` under [serve-mds]')),
        listen: options.listen ?? section.listen ?? [`tcp://127.0.0.1:${MDS_PORT}`],
        advertise: options.advertise,
        labels: options.label,
        existing: options.existing,
        mgsAddresses: known.mgs,
        replaceAfterMs: options.replaceAfter ?? section['replace-after'],
        clusterId: options.clusterId ?? known.config?.clusterId,
      });
      return { mds, close: () => closeAll([() => mds.close(), () => env.io.close()]) };
    };
    const facts = ({ mds }: Awaited<ReturnType<typeof start>>) => ({
      clusterId: mds.clusterId,
      addresses: mds.addresses,
    });
    return await runService(start, { log: env.log, facts });
  },
});
