import { formatSizeBytes } from '../../../common/units.js';
import { defineVerb } from '../../command.js';
import { allOsts } from '../../volumes.js';

export const ostLs = defineVerb({
  name: 'ls',
  aliases: ['list'],
  summary: 'list the OSTs that the metadata server knows',
  examples: [
    { command: 'rawstor ost ls', what: 'all OSTs with their space' },
    {
      command: "rawstor ost ls --output jsonl | jq -r 'select(.alive | not) | .ostId'",
      what: 'the dead ones',
    },
  ],
  async run(context) {
    const cluster = await context.cluster();
    const osts = await allOsts(cluster, context.globals.timeout);
    context.output.list(osts, [
      { header: 'OST', cell: (row) => row.ostId },
      { header: 'STATE', cell: (row) => (row.alive ? 'up' : 'down') + (row.draining ? ', draining' : '') },
      { header: 'SIZE', cell: (row) => formatSizeBytes(row.capacityBytes), right: true },
      { header: 'FREE', cell: (row) => formatSizeBytes(row.freeBytes), right: true },
      { header: 'LABELS', cell: (row) => labelText(row.labels) },
      { header: 'ADDRESSES', cell: (row) => row.addresses.join(' ') },
    ]);
    return 0;
  },
});

export function labelText(labels: Record<string, string>): string {
  return Object.entries(labels)
    .map(([name, value]) => `${name}=${value}`)
    .join(',');
}
