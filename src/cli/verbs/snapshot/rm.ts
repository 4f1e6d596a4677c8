import { defineVerb } from '../../command.js';
import { findSnapshot } from '../../snapshots.js';
import { SNAPSHOT_ARGUMENT } from './create.js';

export const rm = defineVerb<{ force: boolean }>({
  name: 'rm',
  aliases: ['remove'],
  summary: 'remove a snapshot',
  description:
    'The volume and its other snapshots stay as they are; what they still need is merged into them afterwards. One ' +
    'that is protected or has clones is refused.',
  arguments: [SNAPSHOT_ARGUMENT],
  options: [{ flags: '-f, --force', help: 'do not ask', default: false }],
  examples: [
    { command: 'rawstor-volume snapshot rm vm1@monday', what: 'asks first on a terminal' },
    { command: 'rawstor-volume snap rm vm1@monday --force', what: 'asks nothing' },
  ],
  async run(context, [text], { force }) {
    const cluster = await context.cluster();
    const { volume, snapshot } = await findSnapshot(context, cluster, text!);
    const taken = new Date(snapshot.createdWallMs).toISOString();
    const name = `${volume.name}@${snapshot.name}`;
    await context.confirm(`Remove snapshot ${name}, taken ${taken}?`, force);
    const { version } = snapshot;
    const timeoutMs = context.globals.timeout;
    const object = await cluster.changeVolume(volume.id, { kind: 'remove', version }, { timeoutMs });
    const merged = !object.snapshots.some((one) => one.version === version);
    context.output.one({ removed: name, version, merged }, () => [`removed ${name}`]);
    return 0;
  },
});
