import { RawstorError } from '../../../common/errors.js';
import { defineVerb } from '../../command.js';
import { EXIT } from '../../exit-codes.js';
import { findOst } from '../../find-ost.js';
import { interruptible } from '../../interrupt.js';
import { YES } from '../../options.js';
import { evacuate, planEvacuation } from '../../recovery/evacuate.js';
import { evacuationExit, printEvacuation } from '../../recovery/rows.js';
import { RATE_OPTION, type RecoveryOptions, recoveryCluster } from '../../recovery/run.js';

const MGS_MS = 1000;

interface Options extends RecoveryOptions {
  lost: boolean;
  allowDataLoss: boolean;
  dryRun: boolean;
  yes: boolean;
  force: boolean;
}

export const ostRm = defineVerb<Options>({
  name: 'rm',
  aliases: ['remove'],
  summary: 'take an OST out of the cluster',
  description:
    'Refused while anything is on it (`rawstor ost drain`). With --lost the OST is gone for good: what it had is ' +
    'copied from other replicas to other OSTs. What nobody else has completely is listed and nothing is done, ' +
    'unless --allow-data-loss: such a volume goes on with an older copy, or with an empty one, and says `loss`. ' +
    'Snapshots that are kept for clones which only it may have, because they stayed out of a rebuild, can be removed after ' +
    'that. An OST that was removed is not let in again with its old directory.',
  arguments: [{ name: 'ost', help: 'its id, or the end of it' }],
  options: [
    { flags: '--lost', help: 'it is gone and does not come back', default: false },
    {
      flags: '--allow-data-loss',
      help: 'with --lost: also where it had the only complete copy',
      default: false,
    },
    { flags: '--dry-run', help: 'only say what would happen', default: false },
    YES,
    { flags: '-f, --force', help: 'the same', default: false },
    RATE_OPTION,
  ],
  examples: [
    { command: 'rawstor ost rm b1a24ef600a5', what: 'after a drain' },
    {
      command: 'rawstor ost rm b1a24ef600a5 --lost --dry-run',
      what: 'its disk has died: what is to be copied',
    },
  ],
  async run(context, [ref], options) {
    const cluster = await recoveryCluster(context, options);
    const { timeout } = context.globals;
    const { ostId, alive } = await findOst(context, cluster, ref!);
    if (options.allowDataLoss && !options.lost) {
      throw new RawstorError('USAGE', '--allow-data-loss goes with --lost only');
    }
    const plan = await planEvacuation(context, cluster, ostId);
    if (options.dryRun) {
      printEvacuation(context, plan);
      return plan.length === 0 || (options.lost && plan.every(({ state }) => state === 'to move'))
        ? 0
        : EXIT.AGAIN;
    }
    if (plan.length > 0 && !options.lost) {
      throw new RawstorError('BUSY', `OST ${ostId} still has copies of ${plan.length} volumes`, {
        where: plan
          .slice(0, 5)
          .map(({ volume }) => volume)
          .join(', '),
        hint: 'move them first: `rawstor ost drain`, or give --lost when it is gone for good',
      });
    }
    if (options.lost && alive) {
      throw new RawstorError('BUSY', `OST ${ostId} is alive`, {
        hint: 'what is on it can be moved: `rawstor ost drain`. If its data is no good, stop it first',
      });
    }
    const only = plan.filter(({ onlyCopy }) => onlyCopy);
    if (only.length > 0 && !options.allowDataLoss) {
      printEvacuation(context, only);
      throw new RawstorError('DENIED', `OST ${ostId} had the only complete copy of ${only.length} volumes`, {
        where: only
          .slice(0, 5)
          .map(({ volume }) => volume)
          .join(', '),
        hint: 'bring it back if there is any way; with --allow-data-loss what is lost is given up',
      });
    }
    const loss = only.length === 0 ? '' : `, give up data of ${only.length}`;
    await context.confirm(
      `Take OST ${ostId} out of the cluster, move ${plan.length} volumes${loss}?`,
      options.yes || options.force,
    );
    await cluster.mds.call('mds.setOst', { ostId, draining: true }, timeout);
    for (const { id } of only) await cluster.mds.call('mds.giveUpCopy', { id, ostId }, timeout);
    const rows = await interruptible((signal) => evacuate(context, cluster, ostId, signal));
    const exit = evacuationExit(rows);
    if (exit === 0) {
      await cluster.mds.call('mds.removeOst', { ostId, lost: options.lost }, timeout);
      // Nothing needs the MGS; an older one does not know of this.
      await cluster.mgs?.call('mgs.leave', { role: 'ost', id: ostId }, MGS_MS).catch(() => {});
    }
    if (plan.length > 0) printEvacuation(context, rows);
    context.note(
      exit === 0 ? `OST ${ostId} is removed` : `OST ${ostId} is not removed: give the command again`,
    );
    return exit;
  },
});
