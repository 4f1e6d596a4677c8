import { RawstorError } from '../../../common/errors.js';
import { defineVerb } from '../../command.js';
import { checkSnapshotName, findSnapshot, splitSnapshotRef } from '../../snapshots.js';
import { SNAPSHOT_ARGUMENT } from './create.js';

export const rename = defineVerb({
  name: 'rename',
  aliases: ['mv'],
  summary: 'give a snapshot another name',
  arguments: [SNAPSHOT_ARGUMENT, { name: 'name', help: 'new name, with or without VOLUME@' }],
  examples: [
    { command: 'rawstor-volume snapshot rename vm1@monday week40', what: 'the name monday is free then' },
    { command: 'rawstor-volume snap mv vm1@monday vm1@week40', what: 'the same' },
  ],
  async run(context, [text, to]) {
    const cluster = await context.cluster();
    const { volume, snapshot } = await findSnapshot(context, cluster, text!);
    const other = splitSnapshotRef(to!);
    if (other !== null && other.volume !== volume.name && other.volume !== volume.id) {
      throw new RawstorError('USAGE', 'a snapshot stays with its volume', {
        where: to!,
        hint: 'a copy of it as a volume is a clone: `rawstor-volume clone`',
      });
    }
    const name = other?.snapshot ?? to!;
    checkSnapshotName(name);
    const { version } = snapshot;
    const timeoutMs = context.globals.timeout;
    await cluster.changeVolume(volume.id, { kind: 'rename', version, name }, { timeoutMs });
    context.output.one({ volume: volume.name, version, name, before: snapshot.name }, () => [
      `renamed ${volume.name}@${snapshot.name} to ${volume.name}@${name}`,
    ]);
    return 0;
  },
});
