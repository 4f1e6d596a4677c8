import type { Clock } from '../common/clock.js';
import { asRawstorError, RawstorError } from '../common/errors.js';
import type { Io } from '../io/types.js';
import { Connection } from '../protocol/connection.js';
import { ASKS_ONLY } from '../protocol/connection-handler.js';
import type { Identity } from '../protocol/hello.js';
import { mostHopeful, type Patience, patiently, tryTimeoutMs } from './patience.js';

const CONNECT_TIMEOUT_MS = 3000;

interface Env {
  readonly io: Io;
  readonly clock: Clock;
  readonly identity: Identity;
  readonly patience?: Patience | undefined;
}

/** Addresses of the servers of the control plane. */
export interface FoundMds {
  readonly mds: readonly string[];
  readonly mgs: readonly string[];
}

/**
 * Asks each address what it is: an MGS names its MDSs, an MDS is one.
 * @throws RawstorError UNAVAILABLE, VERSION, DENIED
 */
export function findMds(env: Env, addresses: readonly string[], where: string): Promise<FoundMds> {
  return patiently(env.clock, env.patience, () => askAll(env, addresses, where));
}

async function askAll(env: Env, addresses: readonly string[], where: string): Promise<FoundMds> {
  const failures: RawstorError[] = [];
  for (const address of addresses) {
    try {
      const role = await ask(env, address);
      if (role.is === 'mds') return { mds: addresses, mgs: [] };
      if (role.is === 'mgs') return { mds: role.mds, mgs: addresses };
      const message = `${address} is an ${role.is}, not an MGS or MDS`;
      failures.push(new RawstorError('PROTOCOL', message));
    } catch (error) {
      const failure = asRawstorError(error, address);
      if (failure.code === 'VERSION' || failure.code === 'DENIED') throw failure;
      failures.push(new RawstorError(failure.code, `${address}: ${failure.message}`, { cause: failure }));
    }
  }
  throw new RawstorError('UNAVAILABLE', 'the cluster cannot be reached', {
    where: failures.map(({ message }) => message).join('; ') || where,
    hint: "start it with 'rawstor up' or 'rawstor serve', or check --location",
    cause: mostHopeful(failures),
  });
}

type Answer = { is: 'mgs'; mds: string[] } | { is: 'mds' | 'ost' | 'client' | undefined };

async function ask(env: Env, address: string): Promise<Answer> {
  const connection = await Connection.connect(env.io, address, {
    identity: env.identity,
    clock: env.clock,
    handler: ASKS_ONLY,
    timeoutMs: tryTimeoutMs(env.clock, env.patience, CONNECT_TIMEOUT_MS),
  });
  try {
    const role = connection.remote?.role;
    return role === 'mgs' ? { is: role, mds: await mdsOf(connection) } : { is: role };
  } finally {
    connection.end();
  }
}

async function mdsOf(connection: Connection): Promise<string[]> {
  const cluster = await connection.call('mgs.cluster', {});
  const all = cluster.servers.filter((server) => server.role === 'mds');
  const found = all.sort((a, b) => b.lastSeenWallMs - a.lastSeenWallMs).flatMap((server) => server.addresses);
  if (found.length > 0) return found;
  throw new RawstorError('UNAVAILABLE', 'the MGS knows no MDS', {
    where: connection.peer,
    hint: "start one with 'rawstor serve mds'",
  });
}
