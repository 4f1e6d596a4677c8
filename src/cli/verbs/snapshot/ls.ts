import { formatSizeBytes } from '../../../common/units.js';
import { defineVerb } from '../../command.js';
import { namedSnapshots } from '../../snapshots.js';
import { volumeInfo } from '../../volumes.js';

export const ls = defineVerb({
  name: 'ls',
  aliases: ['list'],
  summary: 'list the snapshots of a volume, oldest first',
  arguments: [{ name: 'volume', help: 'name or id' }],
  examples: [
    { command: 'rawstor-volume snapshot ls vm1', what: 'with the clones of each' },
    { command: "rawstor-volume snap ls vm1 --output json | jq -r '.[-1].name'", what: 'the latest one' },
  ],
  async run(context, [ref]) {
    const cluster = await context.cluster();
    const { timeout } = context.globals;
    const volume = await volumeInfo(cluster, ref!, timeout);
    const { children } = await cluster.mds.call('mds.children', { ref: volume.id }, timeout);
    const rows = namedSnapshots(volume).map((snapshot) => ({
      ...snapshot,
      isBase: snapshot.version === volume.headOver,
      clones: children.filter((one) => one.version === snapshot.version).map((one) => one.name),
    }));
    context.output.list(rows, [
      { header: 'NAME', cell: (row) => row.name },
      { header: 'SIZE', cell: (row) => formatSizeBytes(row.sizeBytes), right: true },
      { header: 'TAKEN', cell: (row) => new Date(row.createdWallMs).toISOString() },
      { header: 'PROTECTED', cell: (row) => (row.protected ? 'yes' : '') },
      { header: 'BASE', cell: (row) => (row.isBase ? 'yes' : '') },
      { header: 'CLONES', cell: (row) => row.clones.join(' ') },
    ]);
    const merging = volume.snapshots.length - rows.length;
    if (merging > 0) context.note(`${merging} removed, their data being merged or still needed`);
    return 0;
  },
});
