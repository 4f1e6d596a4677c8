import { hostname } from 'node:os';
import { type ControlLink, findMds, type Patience } from '../../client/index.js';
import type { ServerInfo } from '../../protocol/index.js';
import type { Context } from '../context.js';
import { processName } from '../process-name.js';
import { type RoleEnvironment, reachable } from '../roles/environment.js';
import { Registration } from './registration.js';

/** Without --timeout: longer than an MDS takes that is started at the same time, short for a wrong address. */
const USUAL_WAIT_MS = 10_000;

export interface AwaitedMds {
  readonly addresses: readonly string[];
  /** Told meanwhile that a gateway is coming. */
  readonly mgs: ControlLink | null;
  /** As what. */
  readonly registered: Registered | null;
  /** Of the configuration: an MDS of another cluster is refused. */
  readonly clusterId?: string | undefined;
}

export type Registered = Pick<ServerInfo, 'role' | 'id' | 'addresses' | 'labels'>;

/** An NBD gateway that is to listen there. Sockets that it was started with have no address yet. */
export function nbdGateway(
  id: string,
  listen: readonly string[],
  labels: Record<string, string> | undefined,
): Registered {
  const addresses = reachable(listen).filter((each) => !each.startsWith('fd:'));
  return { role: 'nbd', id, addresses, labels: { host: hostname(), ...labels } };
}

/**
 * For the MDS of a gateway that starts. Said in the log when the waiting begins, and `rawstor status` has the gateway as
 * waiting: guests that come back find it closed until then, and there at once afterwards.
 * @throws RawstorError UNAVAILABLE when it does not come within --timeout, or is none
 */
export async function awaitMds(
  context: Context,
  { io, clock, log }: RoleEnvironment,
  { addresses, mgs, registered, clusterId = '' }: AwaitedMds,
  stopping: AbortSignal,
): Promise<void> {
  let told: Registration | null = null;
  const patience = serverPatience(context, { clock, log }, stopping, () => {
    if (mgs === null || registered === null) return;
    const info = { ...registered, capacityBytes: 0, freeBytes: 0, waitsFor: 'the MDS' };
    told = new Registration(mgs, () => info, { clock, log });
  });
  const identity = { role: 'client' as const, clusterId, name: processName(context.program) };
  try {
    await findMds({ io, clock, identity, patience }, addresses, addresses.join(', '));
  } finally {
    (told as Registration | null)?.stop();
  }
}

/** Of a server at its start. */
export function serverPatience(
  context: Context,
  { clock, log }: Pick<RoleEnvironment, 'clock' | 'log'>,
  stopping: AbortSignal,
  onWaiting: () => void = () => {},
): Patience {
  const { timeout, timeoutGiven } = context.globals;
  const waitMs = timeoutGiven ? timeout : USUAL_WAIT_MS;
  return {
    untilMs: clock.nowMs() + waitMs,
    ended: () => stopping.aborted,
    onWaiting: ({ message, where }) => {
      log.warn({ reason: message, where, waitMs }, 'the MDS is away: waiting for it');
      onWaiting();
    },
  };
}
