import { hostname } from 'node:os';
import { type ControlLink, findMds, type Patience } from '../../client/index.js';
import type { Context } from '../context.js';
import { processName } from '../process-name.js';
import { type RoleEnvironment, reachable } from '../roles/environment.js';
import { Registration } from './registration.js';

/** Without --timeout: longer than an MDS takes that is started at the same time, short for a wrong address. */
const USUAL_WAIT_MS = 10_000;

export interface AwaitedMds {
  /** Of the gateway, now and when it serves. */
  readonly id: string;
  readonly addresses: readonly string[];
  /** Told meanwhile that a gateway is coming. */
  readonly mgs: ControlLink | null;
  /** Where it will listen; sockets that it was started with have no address yet. */
  readonly listen: readonly string[];
  readonly labels: Record<string, string> | undefined;
}

/**
 * For the MDS of a gateway that starts. Said in the log when the waiting begins, and `rawstor status` has the gateway as
 * waiting: guests that come back find it closed until then, and there at once afterwards.
 * @throws RawstorError UNAVAILABLE when it does not come within --timeout, or is none
 */
export async function awaitMds(
  context: Context,
  { io, clock, log }: RoleEnvironment,
  { id, addresses, mgs, listen, labels }: AwaitedMds,
  stopping: AbortSignal,
): Promise<void> {
  const info = {
    role: 'nbd' as const,
    id,
    addresses: reachable(listen).filter((each) => !each.startsWith('fd:')),
    labels: { host: hostname(), ...labels },
    capacityBytes: 0,
    freeBytes: 0,
    waitsFor: 'the MDS',
  };
  let told: Registration | null = null;
  const patience = serverPatience(context, { io, clock, log }, stopping, () => {
    if (mgs !== null) told = new Registration(mgs, () => info, { clock, log });
  });
  const identity = { role: 'client' as const, clusterId: '', name: processName(context.program) };
  try {
    await findMds({ io, clock, identity, patience }, addresses, addresses.join(', '));
  } finally {
    (told as Registration | null)?.close();
  }
}

/** Of a server at its start. */
export function serverPatience(
  context: Context,
  { clock, log }: RoleEnvironment,
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
