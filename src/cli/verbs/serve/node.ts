import { hostname } from 'node:os';
import { join, resolve } from 'node:path';
import { Cluster, Keeper } from '../../../client/index.js';
import { RawstorError } from '../../../common/errors.js';
import { newId } from '../../../common/ids.js';
import { runService } from '../../../common/lifecycle.js';
import { keepFilesPrivate } from '../../../common/private-files.js';
import { defineVerb } from '../../command.js';
import type { Context } from '../../context.js';
import { awaitMds, nbdGateway, serverPatience } from '../../gateway/await-mds.js';
import { Gateway } from '../../gateway/gateway.js';
import { mgsLink } from '../../gateway/registration.js';
import { listenForTrace } from '../../gateway/trace.js';
import { KEY_OPTIONS } from '../../keys.js';
import { address, list } from '../../options.js';
import {
  advertised,
  closeAll,
  knownCluster,
  knownMds,
  openEnvironment,
  type RoleEnvironment,
  reachable,
  required,
  SERVER_OPTIONS,
} from '../../roles/environment.js';
import { integrityTuning } from './ost.js';
import { MDS_PORT, OST_PORT } from './ports.js';

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
  withMds: boolean;
  mdsListen?: string[];
  nbdListen?: string[];
  vhost?: string[];
  vhostDir?: string;
  control?: string;
  standby: boolean;
}

export const serveNode = defineVerb<Options>({
  name: 'node',
  summary: 'serve an OST and gateways, NBD and vhost-user, in one process',
  description:
    "For a machine that has both disks and guests: the gateways reach this machine's OST by plain calls, and only " +
    'the other replicas over the network. NBD has all volumes; vhost-user those that --vhost names, as `rawstor vhost` ' +
    'does, and one that cannot be served, or is not there yet, is tried again every few seconds. With --with-mds the ' +
    'metadata server is in the same process too. Labels, recovery, checksums and times are as [serve-ost] and [serve-mds] of the ' +
    'configuration say where the command line says nothing. Another one that is away at the start is waited for, for 10 s or as ' +
    'long as --timeout says.',
  options: [
    { flags: '--dir <path>', help: 'directory; its subdirectories are ost and mds' },
    SERVER_OPTIONS.listen(OST_PORT),
    SERVER_OPTIONS.advertise,
    ...KEY_OPTIONS,
    SERVER_OPTIONS.label,
    SERVER_OPTIONS.mds,
    SERVER_OPTIONS.mgs,
    SERVER_OPTIONS.recover,
    SERVER_OPTIONS.recoveryRate,
    SERVER_OPTIONS.poolSize,
    { flags: '--with-mds', help: 'serve the metadata here as well', default: false },
    {
      flags: '--mds-listen <address>',
      help: `address of that metadata server; tcp://127.0.0.1:${MDS_PORT} when there is none`,
      parse: list(address),
    },
    { flags: '--nbd-listen <address>', help: 'address for NBD clients; repeatable', parse: list(address) },
    {
      flags: '--vhost <volume>',
      help: 'volume, or VOLUME@SNAPSHOT, for a guest by vhost-user; repeatable',
      parse: list((name) => name),
    },
    {
      flags: '--vhost-dir <path>',
      help: 'directory of their sockets, VOLUME.vhost each (default: this one)',
    },
    { flags: '--control <path>', help: 'Unix socket for `rawstor-volume detach` and `rawstor top --trace`' },
    { flags: '--standby', help: 'of the gateways: as `serve nbd` and `vhost` have it', default: false },
  ],
  examples: [
    {
      command:
        'rawstor serve node --dir /srv/rawstor --mds 10.0.0.1:7771 --nbd-listen unix:/run/rawstor/nbd.sock',
      what: 'one hyperconverged host of several',
    },
    {
      command: 'rawstor serve node --dir /srv/rawstor --with-mds --vhost vm1 --vhost-dir /run/rawstor',
      what: 'all of a small cluster in one process, and the fastest way into its guest',
    },
  ],
  async run(context, _args, options) {
    keepFilesPrivate();
    const env = openEnvironment(context, 'node', options.poolSize);
    const start = (stopping: AbortSignal) => startNode(context, env, options, stopping);
    return await runService(start, { log: env.log, facts: (node) => node.facts });
  },
});

/** Closing goes the other way round: who uses a part is closed before it. */
async function startNode(context: Context, env: RoleEnvironment, options: Options, stopping: AbortSignal) {
  if (options.withMds && options.mds !== undefined) {
    throw new RawstorError('USAGE', '--with-mds and --mds exclude each other');
  }
  const dir = resolve(required(options.dir, '--dir'));
  const { vhost = [] } = options;
  const nbdListen = vhost.length === 0 ? required(options.nbdListen, '--nbd-listen') : options.nbdListen;
  const closers: (() => unknown)[] = [() => env.io.close()];
  const close = () => closeAll([...closers].reverse());
  try {
    const flags = options.withMds ? { mds: [], ...options } : options;
    const known = await knownCluster(context, env, flags, serverPatience(context, env, stopping));
    let mdsAddresses = known.mds;
    const clusterId = known.config?.clusterId;
    const { ost: section = {}, mds: mdsSection = {} } = known.config?.serve ?? {};
    const labels = { ...section.labels, ...options.label };
    if (options.withMds) {
      const { startMds } = await import('../../../mds/index.js');
      const mds = await startMds({
        ...env,
        dir: join(dir, 'mds'),
        listen: options.mdsListen ?? [`tcp://127.0.0.1:${MDS_PORT}`],
        mgsAddresses: known.mgs,
        labels,
        replaceAfterMs: mdsSection['replace-after'],
        clusterId,
      });
      closers.push(() => mds.close());
      mdsAddresses = reachable(mds.addresses);
    }
    knownMds({ mds: mdsAddresses });
    const { startOst } = await import('../../../ost/index.js');
    const listen = options.listen ?? [`tcp://127.0.0.1:${OST_PORT}`];
    const ost = await startOst({
      ...env,
      dir: join(dir, 'ost'),
      listen,
      advertise: options.advertise ?? advertised(listen),
      labels,
      clusterId,
      mdsAddresses,
      mgsAddresses: known.mgs,
      tuning: integrityTuning(section),
    });
    closers.push(() => ost.close());
    const mgs = mgsLink(known.mgs, env, undefined, clusterId);
    closers.push(() => mgs?.close());
    const id = newId();
    const registered = nbdListen === undefined ? null : nbdGateway(id, nbdListen, labels);
    await awaitMds(context, env, { addresses: mdsAddresses, mgs, registered, clusterId }, stopping);
    const cluster = await Cluster.connect({
      ...env,
      location: mdsAddresses.join(','),
      clusterId,
      name: 'rawstor-node',
      host: labels.host ?? hostname(),
      localOsts: new Map([[ost.ostId, ost.connector]]),
      recoveryBytesPerSecond: options.recoveryRate ?? section['recovery-rate'] ?? null,
    });
    closers.push(() => cluster.close());
    if (options.recover ?? section.recover) {
      const keeper = new Keeper({ cluster, clock: env.clock, log: env.log, ostId: ost.ostId });
      closers.push(() => keeper.close());
    }
    const control = options.control === undefined ? undefined : resolve(options.control);
    const facts = { ostId: ost.ostId, ost: ost.addresses, mds: mdsAddresses };
    const served = { ...env, cluster, standby: options.standby };
    if (nbdListen !== undefined) {
      const gateway = await Gateway.start({
        ...served,
        listen: nbdListen,
        id,
        mgs,
        labels,
        ...(control === undefined ? {} : { controlPath: control }),
      });
      closers.push(() => gateway.close());
      Object.assign(facts, { nbd: gateway.addresses });
    } else if (control !== undefined) {
      const trace = await listenForTrace(control);
      closers.push(() => trace.close());
    }
    if (vhost.length > 0) {
      // Loaded when it is served: other verbs start faster without it.
      const { placesOf, VhostGateway } = await import('../../vhost/vhost-gateway.js');
      const places = placesOf(vhost, undefined, resolve(options.vhostDir ?? '.'));
      const gateway = await VhostGateway.start({ ...served, places, beside: true });
      closers.push(() => gateway.close());
      Object.assign(facts, { vhost: gateway.places });
    }
    return { facts, close };
  } catch (error) {
    await close().catch(() => {});
    throw error;
  }
}
