import { formatSizeBytes } from '../../../common/units.js';
import { defineVerb } from '../../command.js';
import { namedSnapshots } from '../../snapshots.js';
import { allOsts, allVolumes, volumeHealth } from '../../volumes.js';

export const ls = defineVerb({
  name: 'ls',
  aliases: ['list'],
  summary: 'list volumes',
  examples: [
    { command: 'rawstor-volume ls', what: 'all volumes' },
    { command: "rawstor-volume ls --output jsonl | jq -r 'select(.lease) | .name'", what: 'those in use' },
  ],
  async run(context) {
    const cluster = await context.cluster();
    const { timeout } = context.globals;
    const [volumes, osts] = await Promise.all([allVolumes(cluster, timeout), allOsts(cluster, timeout)]);
    const alive = new Set(osts.filter((ost) => ost.alive).map((ost) => ost.ostId));
    const rows = volumes.map((volume) => ({
      ...volume,
      health: volumeHealth(volume, (id) => alive.has(id)),
    }));
    context.output.list(rows, [
      { header: 'NAME', cell: (row) => row.name },
      { header: 'SIZE', cell: (row) => formatSizeBytes(row.sizeBytes), right: true },
      { header: 'REPLICAS', cell: (row) => String(row.replicas), right: true },
      { header: 'HEALTH', cell: (row) => row.health },
      { header: 'SNAPSHOTS', cell: (row) => String(namedSnapshots(row).length || ''), right: true },
      { header: 'CLONE OF', cell: (row) => row.parent?.name ?? '' },
      { header: 'IN USE BY', cell: (row) => row.lease?.holder ?? '' },
    ]);
    return 0;
  },
});
