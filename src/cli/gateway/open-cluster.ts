import { hostname } from 'node:os';
import { Cluster, type ControlLink } from '../../client/index.js';
import type { Context } from '../context.js';
import {
  closeAll,
  type KnownCluster,
  knownCluster,
  knownMds,
  type RoleEnvironment,
} from '../roles/environment.js';
import { awaitMds, type Registered, serverPatience } from './await-mds.js';
import { mgsLink } from './registration.js';

/** Options of every server that opens volumes. */
export interface OpenerOptions {
  readonly mds?: string[];
  readonly mgs?: string[];
  readonly label?: Record<string, string>;
  readonly recoveryRate?: number;
}

export interface OpenerFacts {
  /** For logs and leases. */
  readonly name: string;
  /** As what it registers while it waits for the MDS; null: it registers nowhere. */
  readonly registered: Registered | null;
  /** Where the options say nothing. */
  readonly recoveryRate?: number | undefined;
}

export interface OpenedCluster {
  readonly cluster: Cluster;
  /** Null where there is none, or this registers nowhere. */
  readonly mgs: ControlLink | null;
  /** Closes what serves the volumes, then what is here. */
  closeBehind(service: { close(): Promise<void> }): Promise<void>;
}

/**
 * How servers that open volumes begin: the cluster of the options or of the location, its MDS waited for, and a connection that
 * they share. @param facts may depend on what the configuration file says. @throws RawstorError CONFIG, UNAVAILABLE, USAGE
 */
export async function openCluster(
  context: Context,
  env: RoleEnvironment,
  options: OpenerOptions,
  facts: (known: KnownCluster) => OpenerFacts,
  stopping: AbortSignal,
): Promise<OpenedCluster> {
  const known = await knownCluster(context, env, options, serverPatience(context, env, stopping));
  const { name, registered, recoveryRate } = facts(known);
  const addresses = knownMds(known);
  const clusterId = known.config?.clusterId;
  const mgs = registered === null ? null : mgsLink(known.mgs, env, name, clusterId);
  try {
    await awaitMds(context, env, { addresses, mgs, registered, clusterId }, stopping);
    const cluster = await Cluster.connect({
      ...env,
      location: addresses.join(','),
      clusterId,
      name,
      recoveryBytesPerSecond: options.recoveryRate ?? recoveryRate ?? null,
      host: options.label?.host ?? hostname(),
    });
    const closeBehind = (service: { close(): Promise<void> }) =>
      closeAll([() => service.close(), () => mgs?.close(), () => cluster.close(), () => env.io.close()]);
    return { cluster, mgs, closeBehind };
  } catch (error) {
    mgs?.close();
    throw error;
  }
}
