import { defineVerb } from '../../command.js';
import type { Context } from '../../context.js';
import { findSnapshot } from '../../snapshots.js';
import { SNAPSHOT_ARGUMENT } from './create.js';

export const protect = defineVerb({
  name: 'protect',
  summary: 'keep a snapshot from being removed',
  arguments: [SNAPSHOT_ARGUMENT],
  examples: [
    { command: 'rawstor-volume snapshot protect vm1@golden', what: 'rm refuses it from now on' },
    { command: 'rawstor-volume snap protect vm1@golden --output json', what: 'for programs' },
  ],
  run: (context, [text]) => setProtected(context, text!, true),
});

export const unprotect = defineVerb({
  name: 'unprotect',
  summary: 'let a snapshot be removed again',
  arguments: [SNAPSHOT_ARGUMENT],
  examples: [
    { command: 'rawstor-volume snapshot unprotect vm1@golden', what: 'rm takes it again' },
    { command: 'rawstor-volume snap unprotect vm1@golden --output json', what: 'for programs' },
  ],
  run: (context, [text]) => setProtected(context, text!, false),
});

async function setProtected(context: Context, text: string, wanted: boolean): Promise<number> {
  const cluster = await context.cluster();
  const { volume, snapshot } = await findSnapshot(context, cluster, text);
  const { version } = snapshot;
  if (snapshot.protected !== wanted) {
    const change = { kind: 'protect' as const, version, protected: wanted };
    await cluster.changeVolume(volume.id, change, { timeoutMs: context.globals.timeout });
  }
  const name = `${volume.name}@${snapshot.name}`;
  context.output.one({ name, version, protected: wanted }, () => [
    `${name} is ${wanted ? 'protected' : 'not protected any more'}`,
  ]);
  return 0;
}
