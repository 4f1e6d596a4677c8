import { formatSizeBytes } from '../../common/units.js';
import { defineVerb } from '../command.js';
import { allObjects, allOsts } from '../volumes.js';

interface Row {
  name: string;
  state: string;
  capacityBytes: number;
  usedBytes: number;
  freeBytes: number;
}

export const df = defineVerb({
  name: 'df',
  summary: 'show the space of the cluster, raw: before replication',
  examples: [
    { command: 'rawstor df', what: 'each OST and the sum' },
    { command: "rawstor df --output json | jq 'last.freeBytes'", what: 'free bytes in all' },
  ],
  async run(context) {
    const cluster = await context.cluster();
    const { timeout } = context.globals;
    const [osts, volumes] = await Promise.all([allOsts(cluster, timeout), allObjects(cluster, timeout)]);
    const rows = osts.map((ost): Row => row(ost.ostId, ost.alive ? 'up' : 'down', [ost]));
    rows.push(row('total', '', osts));
    context.output.list(rows, [
      { header: 'OST', cell: (r) => r.name },
      { header: 'STATE', cell: (r) => r.state },
      { header: 'SIZE', cell: (r) => formatSizeBytes(r.capacityBytes), right: true },
      { header: 'USED', cell: (r) => formatSizeBytes(r.usedBytes), right: true },
      { header: 'FREE', cell: (r) => formatSizeBytes(r.freeBytes), right: true },
      { header: 'USE', cell: (r) => percent(r.usedBytes, r.capacityBytes), right: true },
    ]);
    // Objects of S3 take space as well, and are no volumes.
    const made = volumes.filter(({ mode }) => mode === 'mutable').length;
    const others = volumes.length - made;
    const counted = `${made} ${made === 1 ? 'volume' : 'volumes'}${others === 0 ? '' : ` and ${others} S3 objects`}`;
    const promised = volumes.reduce((sum, volume) => sum + volume.sizeBytes * volume.replicas, 0);
    context.note(`${counted}, ${formatSizeBytes(promised)} with replicas if they were full`);
    return 0;
  },
});

function row(
  name: string,
  state: string,
  osts: readonly { capacityBytes: number; freeBytes: number }[],
): Row {
  const capacityBytes = osts.reduce((sum, ost) => sum + ost.capacityBytes, 0);
  const freeBytes = osts.reduce((sum, ost) => sum + ost.freeBytes, 0);
  return { name, state, capacityBytes, usedBytes: capacityBytes - freeBytes, freeBytes };
}

export function percent(part: number, whole: number): string {
  return whole === 0 ? '' : `${Math.round((part / whole) * 100)} %`;
}
