import { formatSizeBytes } from '../../../common/units.js';
import { defineVerb } from '../../command.js';
import { EXIT } from '../../exit-codes.js';
import { OstLinks } from '../../ost-links.js';
import { allOsts, allVolumes, volumeInfo } from '../../volumes.js';

interface Row {
  name: string;
  sizeBytes: number;
  /** On all OSTs together. */
  allocatedBytes: number;
  osts: { ostId: string; allocatedBytes: number; chunks: number }[];
  /** OSTs that could not be asked. */
  missing: string[];
}

export const du = defineVerb({
  name: 'du',
  summary: 'show how much space volumes really take',
  arguments: [{ name: 'volume', help: 'name or id; default: all', optional: true }],
  examples: [
    { command: 'rawstor-volume du', what: 'all volumes' },
    { command: "rawstor-volume du vm1 --output json | jq '.[0].osts'", what: 'one volume, by OST' },
  ],
  async run(context, [ref]) {
    const cluster = await context.cluster();
    const { timeout } = context.globals;
    const volumes =
      ref === undefined ? await allVolumes(cluster, timeout) : [await volumeInfo(cluster, ref, timeout)];
    const osts = new OstLinks(context, await allOsts(cluster, timeout));
    const rows: Row[] = [];
    try {
      for (const volume of volumes) {
        const row: Row = {
          name: volume.name,
          sizeBytes: volume.sizeBytes,
          allocatedBytes: 0,
          osts: [],
          missing: [],
        };
        for (const { ostId } of volume.members) {
          const usage = await osts.usage(ostId, volume.id);
          if (usage === null) row.missing.push(ostId);
          else row.osts.push({ ostId, ...usage });
        }
        row.allocatedBytes = row.osts.reduce((sum, ost) => sum + ost.allocatedBytes, 0);
        rows.push(row);
      }
    } finally {
      osts.close();
    }
    context.output.list(rows, [
      { header: 'NAME', cell: (row) => row.name },
      { header: 'SIZE', cell: (row) => formatSizeBytes(row.sizeBytes), right: true },
      { header: 'TAKEN', cell: (row) => formatSizeBytes(row.allocatedBytes), right: true },
      { header: 'OSTS', cell: (row) => String(row.osts.length), right: true },
    ]);
    for (const text of osts.failures) context.warn(text);
    return osts.failures.length === 0 ? 0 : EXIT.AGAIN;
  },
});
