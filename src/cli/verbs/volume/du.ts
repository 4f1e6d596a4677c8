import type { Cluster } from '../../../client/index.js';
import { formatSizeBytes } from '../../../common/units.js';
import type { ObjectInfo, Result } from '../../../protocol/index.js';
import { defineVerb } from '../../command.js';
import type { Context } from '../../context.js';
import { EXIT } from '../../exit-codes.js';
import { OstLinks } from '../../ost-links.js';
import { findEither, type NamedSnapshot } from '../../snapshots.js';
import { allObjects, allOsts } from '../../volumes.js';

interface Row {
  name: string;
  sizeBytes: number;
  /** On all OSTs together. */
  allocatedBytes: number;
  osts: ({ ostId: string } & Result<'ost.usage'>)[];
  /** On all OSTs together, the head last; a name is that of a snapshot. */
  versions: { version: number; name: string | null; head: boolean; allocatedBytes: number; chunks: number }[];
  /** OSTs that could not be asked. */
  missing: string[];
}

export const du = defineVerb({
  name: 'du',
  summary: 'show how much space volumes really take',
  arguments: [{ name: 'volume', help: 'name or id, or VOLUME@SNAPSHOT; default: all', optional: true }],
  examples: [
    { command: 'rawstor-volume du', what: 'all volumes' },
    {
      command: "rawstor-volume du vm1 --output json | jq '.[0].versions'",
      what: 'one volume, by version: what a snapshot holds',
    },
  ],
  async run(context, [ref]) {
    const cluster = await context.cluster();
    const { timeout } = context.globals;
    const { volumes, only } = await wanted(context, cluster, ref);
    const osts = new OstLinks(context, await allOsts(cluster, timeout));
    const rows: Row[] = [];
    try {
      for (const volume of volumes) {
        const row: Row = {
          name: volume.name,
          sizeBytes: volume.sizeBytes,
          allocatedBytes: 0,
          osts: [],
          versions: [],
          missing: [],
        };
        for (const { ostId } of volume.members) {
          const usage = await osts.usage(ostId, volume.id);
          if (usage === null) row.missing.push(ostId);
          else row.osts.push({ ostId, ...usage });
        }
        row.allocatedBytes = row.osts.reduce((sum, ost) => sum + ost.allocatedBytes, 0);
        row.versions = versionsOf(volume, row);
        rows.push(only === null ? row : ofSnapshot(row, only));
      }
    } finally {
      osts.close();
    }
    context.output.list(rows, [
      { header: 'NAME', cell: (row) => row.name },
      { header: 'SIZE', cell: (row) => formatSizeBytes(row.sizeBytes), right: true },
      { header: 'TAKEN', cell: (row) => formatSizeBytes(row.allocatedBytes), right: true },
      { header: 'OSTS', cell: (row) => String(row.osts.length), right: true },
      { header: 'BY VERSION', cell: (row) => row.versions.map(versionText).join(', ') },
    ]);
    for (const text of osts.failures) context.warn(text);
    return osts.failures.length === 0 ? 0 : EXIT.AGAIN;
  },
});

async function wanted(
  context: Context,
  cluster: Cluster,
  ref: string | undefined,
): Promise<{ volumes: readonly ObjectInfo[]; only: NamedSnapshot | null }> {
  if (ref === undefined) {
    return { volumes: await allObjects(cluster, context.globals.timeout), only: null };
  }
  const { volume, snapshot } = await findEither(context, cluster, ref);
  return { volumes: [volume], only: snapshot };
}

/** What a snapshot has itself: what it shows of older ones is theirs. */
function ofSnapshot(row: Row, { name, version, sizeBytes }: NamedSnapshot): Row {
  const versions = row.versions.filter((one) => one.version === version);
  const osts = row.osts.map((ost) => {
    const own = ost.versions.filter((one) => one.version === version);
    const { allocatedBytes, chunks } = own[0] ?? { allocatedBytes: 0, chunks: 0 };
    return { ...ost, allocatedBytes, chunks, versions: own };
  });
  const allocatedBytes = versions.reduce((sum, one) => sum + one.allocatedBytes, 0);
  return { ...row, name: `${row.name}@${name}`, sizeBytes, allocatedBytes, osts, versions };
}

/** What each version takes: nothing to tell for a volume that has one only. */
function versionsOf(volume: ObjectInfo, { osts }: Row): Row['versions'] {
  if (volume.snapshots.length === 0) return [];
  const head = { version: volume.headVersion, name: null };
  return [...volume.snapshots, head].map(({ version, name }) => {
    const parts = osts.flatMap((ost) => ost.versions.filter((one) => one.version === version));
    const allocatedBytes = parts.reduce((sum, one) => sum + one.allocatedBytes, 0);
    const chunks = parts.reduce((sum, one) => sum + one.chunks, 0);
    return { version, name, head: version === head.version, allocatedBytes, chunks };
  });
}

function versionText({ version, name, head, allocatedBytes }: Row['versions'][number]): string {
  const label = head ? 'head' : name === null ? `version ${version}` : `@${name}`;
  return `${label} ${formatSizeBytes(allocatedBytes)}`;
}
