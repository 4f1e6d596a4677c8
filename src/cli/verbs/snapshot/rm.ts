import { defineVerb } from '../../command.js';
import { YES } from '../../options.js';
import { findSnapshot } from '../../snapshots.js';
import { SNAPSHOT_ARGUMENT } from './create.js';

export const rm = defineVerb<{ yes: boolean; force: boolean }>({
  name: 'rm',
  aliases: ['remove'],
  summary: 'remove a snapshot',
  description:
    'The volume and its other snapshots stay as they are; what they still need is merged into them afterwards. One ' +
    'that is protected or has clones is refused. Asks on a terminal only: a script is not asked, whether it says --yes ' +
    'or not.',
  arguments: [SNAPSHOT_ARGUMENT],
  options: [YES, { flags: '-f, --force', help: 'the same', default: false }],
  examples: [
    { command: 'rawstor-volume snapshot rm vm1@monday', what: 'asks first on a terminal' },
    { command: 'rawstor-volume snap rm vm1@monday --yes', what: 'asks nothing' },
  ],
  async run(context, [text], { yes, force }) {
    const cluster = await context.cluster();
    const { volume, snapshot } = await findSnapshot(context, cluster, text!);
    const taken = new Date(snapshot.createdWallMs).toISOString();
    const name = `${volume.name}@${snapshot.name}`;
    await context.confirm(`Remove snapshot ${name}, taken ${taken}?`, yes || force);
    const { version } = snapshot;
    const timeoutMs = context.globals.timeout;
    const object = await cluster.changeVolume(volume.id, { kind: 'remove', version }, { timeoutMs });
    const merged = !object.snapshots.some((one) => one.version === version);
    context.output.one({ removed: name, version, merged }, () => [`removed ${name}`]);
    return 0;
  },
});
