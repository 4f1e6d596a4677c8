import { defineVerb } from '../../command.js';
import { volumeInfo } from '../../volumes.js';

export const acknowledgeLoss = defineVerb({
  name: 'acknowledge-loss',
  summary: 'take the mark of a loss away, after the file system inside was checked',
  description:
    'The mark says that acknowledged writes were, or may have been, lost. It stays until somebody says that he has ' +
    'seen it; what was lost does not come back by this.',
  arguments: [{ name: 'volume', help: 'name or id' }],
  examples: [
    { command: 'rawstor-volume info vm1', what: 'shows the mark, and since when' },
    { command: 'rawstor-volume acknowledge-loss vm1', what: 'after fsck in the guest' },
  ],
  async run(context, [ref]) {
    const cluster = await context.cluster();
    const { timeout } = context.globals;
    const { id, name, lossWallMs } = await volumeInfo(cluster, ref!, timeout);
    if (lossWallMs !== null) await cluster.mds.call('mds.acknowledgeLoss', { ref: id }, timeout);
    context.output.one({ name, id, acknowledged: lossWallMs !== null, lossWallMs }, () => [
      lossWallMs === null
        ? `${name} has no mark of a loss`
        : `acknowledged the loss of ${name} of ${new Date(lossWallMs).toISOString()}`,
    ]);
    return 0;
  },
});
