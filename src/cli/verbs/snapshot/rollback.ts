import type { ObjectInfo, VersionChange } from '../../../protocol/index.js';
import { defineVerb } from '../../command.js';
import type { Context } from '../../context.js';
import { openVolume } from '../../gateway/let-go.js';
import { YES } from '../../options.js';
import { findSnapshot } from '../../snapshots.js';
import { SNAPSHOT_ARGUMENT } from './create.js';
import { freeName, safetyName } from './safety-name.js';

interface Options {
  safety: boolean;
  yes: boolean;
  force: boolean;
}

export const rollback = defineVerb<Options>({
  name: 'rollback',
  summary: 'make a volume what it was when a snapshot was taken',
  description:
    'What it is now is kept as the snapshot before-rollback-<UTC time>, unless --no-safety. Its size goes back too. A ' +
    'volume in use is refused: a running guest has parts of what was there in memory, and would write them over ' +
    'what comes back. Asks on a terminal only: a script is not asked, whether it says --yes or not.',
  arguments: [SNAPSHOT_ARGUMENT],
  options: [
    { flags: '--no-safety', help: 'keep nothing of what the volume is now' },
    YES,
    { flags: '-f, --force', help: 'do not ask, and do it even under a running guest', default: false },
  ],
  examples: [
    { command: 'rawstor-volume snapshot rollback vm1@monday', what: 'with a snapshot of now' },
    {
      command: 'rawstor-volume snap rollback vm1@monday --no-safety --yes',
      what: 'what came after monday is lost',
    },
  ],
  async run(context, [text], { safety, yes, force }) {
    const cluster = await context.cluster();
    const { volume, snapshot } = await findSnapshot(context, cluster, text!);
    const name = `${volume.name}@${snapshot.name}`;
    const keepAs = safety ? freeName(volume, safetyName(context.clock.wallMs())) : null;
    const kept = keepAs === null ? 'what it is now is lost' : `what it is now is kept as @${keepAs}`;
    await context.confirm(`Roll ${volume.name} back to ${name}? ${kept}.`, yes || force);
    const change: VersionChange = { kind: 'rollback', to: snapshot.version, keepAs };
    const object = force
      ? await cluster.changeVolume(volume.id, change, { timeoutMs: context.globals.timeout })
      : await alone(context, volume, change);
    const { headVersion, sizeBytes } = object;
    context.output.one({ volume: object.name, to: name, keptAs: keepAs, headVersion, sizeBytes }, () => [
      `rolled ${object.name} back to ${name}; ${kept}`,
    ]);
    return 0;
  },
});

/** Nobody else has it open meanwhile. @throws RawstorError BUSY when somebody has */
async function alone(context: Context, volume: ObjectInfo, change: VersionChange): Promise<ObjectInfo> {
  const hint =
    'a guest has parts of it in memory: end it first, or detach the volume; --force does it under its feet';
  const opened = await openVolume(context, volume.id, { hint, content: false });
  try {
    return await opened.change(change);
  } finally {
    await opened.close();
  }
}
