import { resolve } from 'node:path';
import { Cluster, Keeper } from '../../../client/index.js';
import type { ClusterConfig } from '../../../common/config.js';
import { runService } from '../../../common/lifecycle.js';
import { keepFilesPrivate } from '../../../common/private-files.js';
import type { OstTuning } from '../../../ost/index.js';
import type { OstConnector } from '../../../protocol/index.js';
import { defineVerb } from '../../command.js';
import {
  advertised,
  closeAll,
  type KnownCluster,
  knownCluster,
  knownMds,
  openEnvironment,
  type RoleEnvironment,
  required,
  SERVER_OPTIONS,
} from '../../roles/environment.js';
import { OST_PORT } from './ports.js';

interface Options {
  dir?: string;
  listen?: string[];
  advertise?: string[];
  label?: Record<string, string>;
  mds?: string[];
  mgs?: string[];
  poolSize?: number;
  recover?: boolean;
  recoveryRate?: number;
}

/** What [serve-ost] says about checksums. */
export function integrityTuning(section: ClusterConfig['serve']['ost']): Partial<OstTuning> {
  const scrubRate = section['scrub-rate'];
  return {
    ...(section.checksums === undefined ? {} : { checksums: section.checksums }),
    ...(scrubRate === undefined ? {} : { scrubBytesPerSec: scrubRate }),
  };
}

export const serveOst = defineVerb<Options>({
  name: 'ost',
  summary: 'serve the chunks in one directory (one per disk)',
  description: 'Listens without authentication: only on networks that are trusted.',
  options: [
    SERVER_OPTIONS.dir,
    SERVER_OPTIONS.listen(OST_PORT),
    SERVER_OPTIONS.advertise,
    SERVER_OPTIONS.label,
    SERVER_OPTIONS.mds,
    SERVER_OPTIONS.mgs,
    SERVER_OPTIONS.recover,
    SERVER_OPTIONS.recoveryRate,
    SERVER_OPTIONS.poolSize,
  ],
  examples: [
    {
      command: 'rawstor serve ost --dir /srv/disk1 --listen 10.0.0.1:7777 --mds 10.0.0.1:7771',
      what: 'one disk of a cluster',
    },
    { command: 'rawstor serve ost -c /etc/rawstor/cluster.toml', what: 'as [serve-ost] of the file says' },
  ],
  async run(context, _args, options) {
    keepFilesPrivate();
    const env = openEnvironment(context, 'ost', options.poolSize);
    const start = async () => {
      // Loaded when it is served: other verbs start faster without it.
      const { startOst } = await import('../../../ost/index.js');
      const known = await knownCluster(context, env, options);
      const section = known.config?.serve.ost ?? {};
      const mdsAddresses = knownMds(known);
      const rate = options.recoveryRate ?? section['recovery-rate'] ?? null;
      const listen = options.listen ?? section.listen ?? [`tcp://127.0.0.1:${OST_PORT}`];
      const ost = await startOst({
        ...env,
        dir: resolve(required(options.dir ?? section.dir, '--dir', '`dir` under [serve-ost]')),
        listen,
        advertise: options.advertise ?? advertised(listen),
        labels: { ...section.labels, ...options.label },
        clusterId: known.config?.clusterId,
        mdsAddresses,
        mgsAddresses: known.mgs,
        tuning: integrityTuning(section),
      });
      const keeper = (options.recover ?? section.recover) ? await keep(env, ost, known, rate) : null;
      return { ost, close: () => closeAll([() => keeper?.close(), () => ost.close(), () => env.io.close()]) };
    };
    const facts = ({ ost }: Awaited<ReturnType<typeof start>>) => ({
      ostId: ost.ostId,
      addresses: ost.addresses,
    });
    return await runService(start, { log: env.log, facts });
  },
});

/** A client in this process, near the data: most of what it has copied does not leave this machine twice. */
async function keep(
  env: RoleEnvironment,
  ost: { ostId: string; connector: OstConnector },
  known: KnownCluster,
  rate: number | null,
): Promise<{ close(): Promise<void> }> {
  const cluster = await Cluster.connect({
    ...env,
    location: known.mds.join(','),
    clusterId: known.config?.clusterId,
    name: `rawstor-ost ${ost.ostId}`,
    localOsts: new Map([[ost.ostId, ost.connector]]),
    recoveryBytesPerSecond: rate,
  });
  const keeper = new Keeper({ cluster, clock: env.clock, log: env.log, ostId: ost.ostId });
  return {
    close: async () => {
      await keeper.close();
      await cluster.close();
    },
  };
}
