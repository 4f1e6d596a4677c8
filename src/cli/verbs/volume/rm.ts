import { formatSizeBytes } from '../../../common/units.js';
import { defineVerb } from '../../command.js';
import { withoutGateway } from '../../gateway/let-go.js';
import { YES } from '../../options.js';
import { volumeInfo } from '../../volumes.js';

export const rm = defineVerb<{ yes: boolean; force: boolean }>({
  name: 'rm',
  aliases: ['remove'],
  summary: 'remove a volume and its data',
  description:
    'A volume in use is refused, unless --force: whoever uses it then gets errors. One that was not closed is looked ' +
    'after for some seconds: its writer may only be cut off. One with snapshots or clones is refused in any case. Asks on a terminal only: a script is not asked, whether it says --yes or not.',
  arguments: [{ name: 'volume', help: 'name or id' }],
  options: [
    YES,
    { flags: '-f, --force', help: 'do not ask, and remove even if it is in use', default: false },
  ],
  examples: [
    { command: 'rawstor-volume rm vm1', what: 'asks first on a terminal' },
    { command: 'rawstor-volume rm vm1 --yes', what: 'asks nothing' },
  ],
  async run(context, [ref], { yes, force }) {
    const cluster = await context.cluster();
    const { timeout } = context.globals;
    const instead = `a snapshot is removed with \`rawstor-volume snapshot rm ${ref}\``;
    const volume = await volumeInfo(cluster, ref!, timeout, instead);
    await context.confirm(
      `Remove volume ${volume.name} (${formatSizeBytes(volume.sizeBytes)}) and all its data?`,
      yes || force,
    );
    await withoutGateway(context, volume.id, () =>
      cluster.removeVolume(volume.id, { force, timeoutMs: timeout }),
    );
    context.output.one({ removed: volume.name, id: volume.id }, () => [`removed ${volume.name}`]);
    return 0;
  },
});
