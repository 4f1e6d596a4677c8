import { RawstorError } from '../../../common/errors.js';
import { formatSizeBytes } from '../../../common/units.js';
import { type ArgumentSpec, defineVerb } from '../../command.js';
import type { Context } from '../../context.js';
import { checkSnapshotName, namedSnapshot, snapshotRef } from '../../snapshots.js';
import { volumeInfo } from '../../volumes.js';

export const SNAPSHOT_ARGUMENT: ArgumentSpec = { name: 'volume@snapshot', help: 'such as vm1@monday' };

export const create = defineVerb({
  name: 'create',
  summary: 'take a snapshot',
  description:
    'An exact cut: what was acknowledged before is in, what is written after is not. A guest may run; its writes ' +
    'pause for a moment. What a guest has not written yet is not in: freeze its file systems first, or flush them.',
  arguments: [SNAPSHOT_ARGUMENT],
  examples: [
    { command: 'rawstor-volume snapshot create vm1@monday', what: 'while the guest runs, or not' },
    { command: 'rawstor-volume snapshot vm1@before-upgrade', what: 'the same in short' },
  ],
  run: (context, [text]) => takeSnapshot(context, text!),
});

/** @throws RawstorError USAGE, EXISTS, NOT_FOUND, TIMEOUT */
export async function takeSnapshot(context: Context, text: string): Promise<number> {
  const { volume: ref, snapshot: name } = snapshotRef(text);
  checkSnapshotName(name);
  const cluster = await context.cluster();
  const timeoutMs = context.globals.timeout;
  const { id } = await volumeInfo(cluster, ref, timeoutMs);
  const object = await cluster.changeVolume(id, { kind: 'snapshot', name }, { timeoutMs });
  const snapshot = namedSnapshot(object, name);
  if (snapshot.version >= object.headVersion) {
    throw new RawstorError('INTERNAL', 'the snapshot is no frozen version', { where: text });
  }
  const { version, over, sizeBytes, createdWallMs } = snapshot;
  const told = { volume: object.name, id, name, version, over, sizeBytes, createdWallMs };
  context.output.one(told, () => [`took ${object.name}@${name} (${formatSizeBytes(sizeBytes)})`]);
  return 0;
}
