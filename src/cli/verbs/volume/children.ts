import { RawstorError } from '../../../common/errors.js';
import { defineVerb } from '../../command.js';
import { namedSnapshot, splitSnapshotRef } from '../../snapshots.js';
import { volumeInfo } from '../../volumes.js';

export const children = defineVerb({
  name: 'children',
  summary: 'list the clones of a volume, or of one of its snapshots',
  arguments: [{ name: 'volume', help: 'VOLUME or VOLUME@SNAPSHOT' }],
  examples: [
    { command: 'rawstor-volume children golden', what: 'of all its snapshots' },
    { command: 'rawstor-volume children golden@v1', what: 'of one' },
  ],
  async run(context, [text]) {
    const cluster = await context.cluster();
    const { timeout } = context.globals;
    const ref = splitSnapshotRef(text!);
    if (ref?.snapshot === '') throw new RawstorError('USAGE', `'${text}' names no snapshot`);
    const volume = await volumeInfo(cluster, ref?.volume ?? text!, timeout);
    const only = ref === null ? null : namedSnapshot(volume, ref.snapshot).version;
    const found = (await cluster.mds.call('mds.children', { ref: volume.id }, timeout)).children;
    const names = new Map(volume.snapshots.map((one) => [one.version, one.name]));
    const rows = found
      .filter((child) => only === null || child.version === only)
      .map((child) => ({ ...child, snapshot: names.get(child.version) ?? null }));
    context.output.list(rows, [
      { header: 'NAME', cell: (row) => row.name },
      { header: 'OF', cell: (row) => `${volume.name}@${row.snapshot ?? `version ${row.version}`}` },
      { header: 'ID', cell: (row) => row.id },
    ]);
    return 0;
  },
});
