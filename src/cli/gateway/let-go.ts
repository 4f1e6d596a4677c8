import type { Volume } from '../../client/index.js';
import { RawstorError } from '../../common/errors.js';
import type { Context } from '../context.js';
import { checkVolumeRef, volumeInfo } from '../volumes.js';
import { callControl } from './control.js';

/**
 * Does something that needs a volume for itself. A gateway keeps a volume open some seconds after its last
 * client: when that is all that stands in the way, it is asked to let go first.
 * @throws RawstorError BUSY when the volume is in use, saying how to change that
 */
export async function withoutGateway<T>(
  context: Context,
  ref: string,
  action: () => Promise<T>,
  hint = 'end the guest or tool that uses it, or cut it off with `rawstor-volume detach --force`',
): Promise<T> {
  try {
    return await action();
  } catch (error) {
    if (!isBusy(error)) throw error;
    if (await askToLetGo(context, ref)) return await action();
    throw new RawstorError('BUSY', error.message, {
      where: error.where,
      // What is not in the way of a user is not helped by ending him.
      hint: /snapshot|clone|metadata server/.test(error.message) ? (error.hint ?? hint) : hint,
      cause: error,
    });
  }
}

interface Opening {
  readonly force?: boolean;
  readonly acceptLoss?: boolean;
  readonly content?: boolean;
  readonly hint?: string;
  /** What stands in for a guest's disk takes it as soon as the lease of whoever had it has lapsed; a command leaves alone who only seems to be gone. */
  readonly forGuest?: boolean;
}

/** Opens a volume for this command alone. @throws RawstorError as above, and those of an open */
export async function openVolume(
  context: Context,
  ref: string,
  { hint, forGuest = false, ...more }: Opening = {},
): Promise<Volume> {
  checkVolumeRef(ref);
  const cluster = await context.cluster();
  return await withoutGateway(
    context,
    ref,
    () => {
      const { timeout: timeoutMs } = context.globals;
      return cluster.openVolume(ref, { mode: 'write', ifUnwritten: !forGuest, timeoutMs, ...more });
    },
    hint,
  );
}

async function askToLetGo(context: Context, ref: string): Promise<boolean> {
  const place = context.location();
  const control = place.kind === 'config' ? place.config.gateway.control : undefined;
  if (control === undefined) return false;
  const { timeout } = context.globals;
  const { name } = await volumeInfo(await context.cluster(), ref, timeout);
  try {
    await callControl(control, { method: 'detach', export: name, force: false }, timeout);
    return true;
  } catch {
    // It serves a client, or is not there: what was wrong in the first place is the better message.
    return false;
  }
}

function isBusy(error: unknown): error is RawstorError {
  return error instanceof RawstorError && error.code === 'BUSY';
}

/** Longer than a lease goes on for after its holder was killed. */
const LEASE_RUNS_OUT_MS = 30_000;

/** As `openVolume`, where whoever was killed may still hold the lease: waited for. @throws RawstorError as above */
export async function openAfterKill(context: Context, ref: string, signal: AbortSignal): Promise<Volume> {
  const { clock } = context;
  const untilMs = clock.nowMs() + LEASE_RUNS_OUT_MS;
  for (let told = false; ; told = true) {
    try {
      return await openVolume(context, ref);
    } catch (error) {
      if (!isBusy(error) || clock.nowMs() > untilMs) throw error;
      if (!told) context.note(`${context.program}: waiting for whoever had ${ref} open to be gone`);
    }
    await clock.sleep(1000);
    signal.throwIfAborted();
  }
}
