import { LIMITS } from '../../../common/limits.js';
import { formatSizeBytes } from '../../../common/units.js';
import type { ObjectInfo } from '../../../protocol/index.js';
import { defineVerb } from '../../command.js';
import { checkNewName } from '../../new-name.js';
import { wholeNumber } from '../../options.js';
import { findSnapshot } from '../../snapshots.js';
import { noteUntold } from '../../volumes.js';
import { SNAPSHOT_ARGUMENT } from '../snapshot/create.js';

interface Options {
  minReplicas?: number;
  onDegraded?: ObjectInfo['onDegraded'];
}

export const clone = defineVerb<Options>({
  name: 'clone',
  summary: 'make a volume of a snapshot, at once and without copying',
  description:
    'The clone begins on the OSTs of the snapshot and takes space for what is written to it. The snapshot stays while ' +
    'it has clones; `flatten` makes one independent.',
  arguments: [SNAPSHOT_ARGUMENT, { name: 'name', help: 'name of the new volume' }],
  options: [
    {
      flags: '--min-replicas <n>',
      help: 'writes wait while fewer copies than this are in sync; default: as the parent',
      parse: wholeNumber(1, LIMITS.replicas),
    },
    {
      flags: '--on-degraded <policy>',
      help: 'what I/O does below --min-replicas; default: as the parent',
      choices: ['pause', 'error'],
    },
  ],
  examples: [
    { command: 'rawstor-volume clone golden@v1 web1', what: 'a disk for a new guest' },
    { command: 'rawstor-volume clone golden@v1 web2 --on-degraded error', what: 'with a policy of its own' },
  ],
  async run(context, [text, name], { minReplicas, onDegraded }) {
    checkNewName(name!);
    const cluster = await context.cluster();
    const { volume, snapshot } = await findSnapshot(context, cluster, text!);
    const request = {
      ref: volume.id,
      version: snapshot.version,
      name: name!,
      ...(minReplicas === undefined ? {} : { minReplicas }),
      ...(onDegraded === undefined ? {} : { onDegraded }),
    };
    const created = await cluster.cloneVolume(request, context.globals.timeout);
    noteUntold(context, created);
    const made = created.volume;
    context.output.one(made, () => [
      `cloned ${volume.name}@${snapshot.name} to ${made.name}: ${formatSizeBytes(made.sizeBytes)} (${made.id})`,
    ]);
    return 0;
  },
});
