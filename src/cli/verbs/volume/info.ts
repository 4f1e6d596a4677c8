import { formatSizeBytes } from '../../../common/units.js';
import type { ObjectInfo } from '../../../protocol/index.js';
import { defineVerb } from '../../command.js';
import type { Context } from '../../context.js';
import { OstLinks } from '../../ost-links.js';
import { factLines, tableLines } from '../../output.js';
import { snapshotInfo } from '../../snapshot-info.js';
import { findEither, namedSnapshots } from '../../snapshots.js';
import {
  allOsts,
  copiedText,
  type KnownOst,
  memberText,
  type VolumeHealth,
  volumeHealth,
} from '../../volumes.js';

export const info = defineVerb({
  name: 'info',
  summary: 'show a volume and the state of its copies',
  arguments: [{ name: 'volume', help: 'name or id, or VOLUME@SNAPSHOT' }],
  examples: [
    { command: 'rawstor-volume info vm1', what: 'size, policy, who uses it, and each copy' },
    { command: "rawstor-volume info vm1 --output json | jq '.members'", what: 'the same for programs' },
  ],
  async run(context, [ref]) {
    const cluster = await context.cluster();
    const { timeout } = context.globals;
    const [{ volume, snapshot }, osts] = await Promise.all([
      findEither(context, cluster, ref!),
      allOsts(cluster, timeout),
    ]);
    const byId = new Map(osts.map((ost) => [ost.ostId, ost]));
    const health = volumeHealth(volume, (id) => byId.get(id)?.alive === true);
    if (snapshot !== null) return await snapshotInfo(context, cluster, { volume, snapshot, health });
    const damage = await damageOf(context, volume, osts);
    context.output.one({ ...volume, health, damage }, () => describe(volume, health, byId, damage));
    return 0;
  },
});

/** Blocks with a wrong checksum on an OST that answered: now, and found and repaired since it started. */
interface DamageRow {
  ostId: string;
  badBlocks: number;
  foundTotal: number;
  repairedTotal: number;
}

async function damageOf(
  context: Context,
  volume: ObjectInfo,
  osts: readonly KnownOst[],
): Promise<DamageRow[]> {
  const links = new OstLinks(context, osts);
  const alive = new Set(osts.filter((ost) => ost.alive).map((ost) => ost.ostId));
  try {
    const asked = volume.members.filter((member) => alive.has(member.ostId));
    const rows = await Promise.all(
      asked.map(async ({ ostId }): Promise<DamageRow[]> => {
        const told = await links.call(ostId, 'ost.damage', { objectId: volume.id });
        if (told === null) return [];
        const { blocks, foundTotal, repairedTotal } = told;
        return [{ ostId, badBlocks: blocks.length, foundTotal, repairedTotal }];
      }),
    );
    return rows.flat();
  } finally {
    links.close();
  }
}

function describe(
  volume: ObjectInfo,
  health: VolumeHealth,
  osts: Map<string, KnownOst>,
  damage: readonly DamageRow[],
): string[] {
  const { lease } = volume;
  const facts: [string, string][] = [
    ['name', volume.name],
    ['id', volume.id],
    ['size', `${formatSizeBytes(volume.sizeBytes)} (${volume.sizeBytes} bytes)`],
    [
      'chunks',
      `${Math.ceil(volume.sizeBytes / volume.chunkSizeBytes)} of ${formatSizeBytes(volume.chunkSizeBytes)}`,
    ],
    ['replicas', `${volume.replicas}, at least ${volume.minReplicas} (below: ${volume.onDegraded})`],
    ['placement', `stripe width ${volume.stripeWidth}, one copy a ${volume.failureDomain}`],
    ['encrypted', encryptedText(volume)],
    ['created', new Date(volume.createdWallMs).toISOString()],
    ['health', health],
    [
      'in use by',
      lease === null ? 'nobody' : `${lease.holder} since ${new Date(lease.sinceWallMs).toISOString()}`,
    ],
    ['state', volume.clean ? 'closed cleanly' : 'open, or not closed cleanly'],
    ['epoch', `${volume.epoch}, identical up to ${volume.lastSeal}`],
  ];
  facts.push(...versionFacts(volume));
  if (volume.lossWallMs !== null) {
    facts.push([
      'loss',
      `acknowledged writes were lost or may be, noticed ${new Date(volume.lossWallMs).toISOString()}: check ` +
        'what is inside, then rawstor-volume acknowledge-loss',
    ]);
  }
  const { wanted } = volume;
  if (wanted !== null) facts.push(['moving', `${wanted.from ?? 'one more'} to ${wanted.to}`]);
  if (volume.left.length > 0) facts.push(['to delete', volume.left.join(' ')]);
  const alive = (ostId: string) => osts.get(ostId)?.alive === true;
  const rows = volume.members.map((member) => ({
    ostId: member.ostId,
    text: memberText(member, alive(member.ostId)),
  }));
  if (wanted !== null)
    rows.push({ ostId: wanted.to, text: alive(wanted.to) ? 'to come' : 'to come, unreachable' });
  const members = tableLines(rows, [
    { header: 'OST', cell: (row) => row.ostId },
    { header: 'HOST', cell: (row) => osts.get(row.ostId)?.labels.host ?? '' },
    { header: 'STATE', cell: (row) => row.text + copiedText(volume, row.ostId) },
    { header: 'DAMAGE', cell: ({ ostId }) => damageText(damage.find((row) => row.ostId === ostId)) },
  ]);
  return [...factLines(facts), '', ...members];
}

function versionFacts(volume: ObjectInfo): [string, string][] {
  const { parent, headVersion, headOver } = volume;
  const facts: [string, string][] = [];
  if (parent !== null) facts.push(['clone of', `${parent.name}, on ${parent.ostIds.length} OSTs`]);
  const snapshots = namedSnapshots(volume);
  if (volume.snapshots.length === 0) return facts;
  const merging = volume.snapshots.length - snapshots.length;
  const removed = merging === 0 ? '' : `, and ${merging} removed whose data is merged or still needed`;
  const names = snapshots.slice(-5).map((one) => `@${one.name}`);
  const listed = snapshots.length > 5 ? ['...', ...names] : names;
  facts.push(['snapshots', `${snapshots.length}${removed}: ${listed.join(' ')}`.replace(/: $/, '')]);
  const over = volume.snapshots.find((one) => one.version === headOver);
  const below =
    over === undefined ? '' : `, over ${over.name === null ? `version ${headOver}` : `@${over.name}`}`;
  facts.push(['version', `${headVersion}${below}`]);
  return facts;
}

function damageText(row: DamageRow | undefined): string {
  if (row === undefined || row.foundTotal === 0) return '';
  return `${row.badBlocks} bad blocks, ${row.foundTotal} found, ${row.repairedTotal} repaired`;
}

function encryptedText({ encryption }: ObjectInfo): string {
  if (encryption === undefined) return 'no';
  return `opened by a ${encryption.kdf.name === 'scrypt' ? 'passphrase' : 'key'}`;
}
