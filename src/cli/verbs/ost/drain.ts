import { defineVerb } from '../../command.js';
import { EXIT } from '../../exit-codes.js';
import { findOst } from '../../find-ost.js';
import { interruptible } from '../../interrupt.js';
import { evacuate, objectsOn, planEvacuation } from '../../recovery/evacuate.js';
import { evacuationExit, printEvacuation } from '../../recovery/rows.js';
import { RATE_OPTION, type RecoveryOptions, recoveryCluster } from '../../recovery/run.js';

interface Options extends RecoveryOptions {
  dryRun: boolean;
  cancel: boolean;
}

export const drain = defineVerb<Options>({
  name: 'drain',
  summary: 'move everything off an OST',
  description:
    'The OST gets nothing new from then on. Volumes in use are moved by whoever has them open, while they are used; ' +
    'the others from here. Ended early, it goes on where it was when it is given again. Then `rawstor ost rm`.',
  arguments: [{ name: 'ost', help: 'its id, or the end of it' }],
  options: [
    { flags: '--dry-run', help: 'only say what would be moved where, or given up', default: false },
    {
      flags: '--cancel',
      help: 'let it get new data again; moves that have not ended are given up',
      default: false,
    },
    RATE_OPTION,
  ],
  examples: [
    { command: 'rawstor ost drain 01a20b77-a100-78f7-87ff-b1a24ef600a5 --dry-run', what: 'what would move' },
    {
      command: 'rawstor ost drain b1a24ef600a5 --rate 100M',
      what: 'by the end of its id, at most 100 MiB/s',
    },
  ],
  async run(context, [ref], options) {
    const cluster = await recoveryCluster(context, options);
    const { timeout } = context.globals;
    const { ostId, draining } = await findOst(context, cluster, ref!);
    if (options.cancel) {
      const moving = (await objectsOn(cluster, ostId, timeout)).filter(
        ({ wanted }) => wanted?.from === ostId,
      );
      if (!options.dryRun) {
        await cluster.mds.call('mds.setOst', { ostId, draining: false }, timeout);
        for (const { id } of moving) await cluster.mds.call('mds.cancelMove', { id }, timeout);
      }
      const [takes, were] = options.dryRun ? ['would take', 'would be'] : ['takes', 'were'];
      const givenUp = moving.map(({ name }) => name);
      context.output.one(
        { ostId, draining: options.dryRun && draining, dryRun: options.dryRun, givenUp },
        () => [`OST ${ostId} ${takes} new data again, ${moving.length} moves ${were} given up`],
      );
      return 0;
    }
    if (options.dryRun) {
      const rows = await planEvacuation(context, cluster, ostId);
      printEvacuation(context, rows);
      return rows.some(({ state }) => state === 'not possible') ? EXIT.UNSATISFIABLE : 0;
    }
    await cluster.mds.call('mds.setOst', { ostId, draining: true }, timeout);
    const rows = await interruptible((signal) => evacuate(context, cluster, ostId, signal));
    printEvacuation(context, rows);
    return evacuationExit(rows);
  },
});
