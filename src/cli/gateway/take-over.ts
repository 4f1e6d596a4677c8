import type { ObjectInfo } from '../../protocol/index.js';
import type { Context } from '../context.js';
import { callControl } from './control.js';
import type { FoundGateway } from './find.js';
import { holderAt } from './holder.js';
import { openVolume } from './let-go.js';

export interface TakeOverOptions {
  /** From a writer that lives: it is fenced, and its guest gets errors. */
  force: boolean;
  /** Without replicas that may have newer data, for good. */
  acceptLoss: boolean;
  /** Nobody is to be asked. */
  yes: boolean;
}

/**
 * Opens a volume once with what a gateway never does by itself, and closes it: whoever had it is shut out, a loss is on
 * record, and the next open is an ordinary one.
 * @throws RawstorError of the open, DENIED when the user does not want it
 */
export async function takeOver(
  context: Context,
  volume: ObjectInfo,
  options: TakeOverOptions,
  gateway: FoundGateway | null,
): Promise<void> {
  const { force, acceptLoss, yes } = options;
  if (!force && !acceptLoss) return;
  const { lease, name } = volume;
  if (gateway !== null && lease !== null && (await has(context, gateway, lease.holder))) {
    return context.note(`${name} is open in this gateway already: nothing is taken from anybody`);
  }
  if (acceptLoss) {
    await context.confirm(`Give up for good what only replicas that are away have of ${name}?`, yes || force);
  }
  const opened = await openVolume(context, name, { force, acceptLoss, content: false, forGuest: true });
  await opened.close();
  if (force && lease !== null) context.note(`taken from ${lease.holder}, which is shut out`);
}

/** Whether that holder is this gateway. */
async function has(context: Context, gateway: FoundGateway, holder: string): Promise<boolean> {
  const { address } = gateway;
  if (gateway.control === undefined) {
    // A TCP address is one gateway's wherever it is asked from, a socket's path is not.
    return (
      holder === holderAt('rawstor-nbd', address) ||
      (!address.startsWith('unix:') && holder.endsWith(` ${address}`))
    );
  }
  const status = await callControl(gateway.control, { method: 'status' }, context.globals.timeout);
  return status.holder === holder;
}
