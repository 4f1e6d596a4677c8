import { needsRecovery } from '../../client/index.js';
import { formatSizeBytes } from '../../common/units.js';
import { defineVerb } from '../command.js';
import { damagedPlaces, damageText } from '../damaged-places.js';
import { EXIT } from '../exit-codes.js';
import { interruptible } from '../interrupt.js';
import { RATE_OPTION, type RecoveryOptions, recoverAll, recoveryCluster } from '../recovery/run.js';
import { allObjects, allOsts, volumeInfo } from '../volumes.js';

export const recover = defineVerb<RecoveryOptions>({
  name: 'recover',
  summary: 'bring the replicas of volumes that nobody has open in order',
  description:
    'Opens each, makes its replicas alike after an unclean close, brings those that are behind up to date, carries ' +
    'out moves that are wanted, and closes it clean. Whoever opens a volume meanwhile gets it at once. Volumes ' +
    'in use are recovered by whoever has them open. The exit code is 75 when something is left to do, and 65 when ' +
    'blocks are damaged that no replica has.',
  arguments: [
    { name: 'volume', help: 'name or id; default: all that need it', optional: true, variadic: true },
  ],
  options: [RATE_OPTION],
  examples: [
    { command: 'rawstor recover', what: 'all volumes that need it' },
    { command: 'rawstor recover vm1 --rate 50M', what: 'one, copying at most 50 MiB a second' },
  ],
  async run(context, refs, options) {
    const cluster = await recoveryCluster(context, options);
    const { timeout } = context.globals;
    const asked =
      refs.length === 0
        ? (await allObjects(cluster, timeout)).filter(needsRecovery)
        : await Promise.all(refs.map((ref) => volumeInfo(cluster, ref, timeout)));
    const outcomes = await interruptible((signal) => recoverAll(context, cluster, asked, signal));
    const osts = (await allOsts(cluster, timeout)).filter(({ damagedBlocks }) => (damagedBlocks ?? 0) > 0);
    const damaged = await damagedPlaces(context, osts, asked);
    for (const row of outcomes) {
      row.detail ||= damageText(damaged.filter(({ id }) => id === row.id));
    }
    context.output.list(outcomes, [
      { header: 'VOLUME', cell: (row) => row.name },
      { header: 'OUTCOME', cell: (row) => row.outcome },
      { header: 'COPIED', cell: (row) => formatSizeBytes(row.copiedBytes), right: true },
      { header: '', cell: (row) => row.detail },
    ]);
    const fine = outcomes.every(({ outcome }) => outcome !== 'waiting' && outcome !== 'failed');
    if (!fine) return EXIT.AGAIN;
    return damaged.length > 0 ? EXIT.DAMAGED : 0;
  },
});
