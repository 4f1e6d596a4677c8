import type { Cluster } from '../../../client/index.js';
import { asRawstorError } from '../../../common/errors.js';
import { formatSizeBytes } from '../../../common/units.js';
import type { ObjectInfo } from '../../../protocol/index.js';
import { defineVerb } from '../../command.js';
import type { Context } from '../../context.js';
import { EXIT } from '../../exit-codes.js';
import { interruptible } from '../../interrupt.js';
import { OstLinks } from '../../ost-links.js';
import { type BalanceVolume, planBalance } from '../../recovery/balance.js';
import { RATE_OPTION, type RecoveryOptions, recoverAll, recoveryCluster } from '../../recovery/run.js';
import { allObjects, allOsts, type KnownOst, shortId, volumeInfo } from '../../volumes.js';

interface Options extends RecoveryOptions {
  dryRun: boolean;
}

interface Row {
  volume: string;
  id: string;
  /** Null: the pool of the volume grows. */
  from: string | null;
  to: string;
  bytes: number;
  state: 'to move' | 'moved' | 'not possible' | 'waiting';
  detail: string;
}

const LOOK_MS = 500;

export const rebalance = defineVerb<Options>({
  name: 'rebalance',
  summary: 'move copies so that all OSTs are filled alike, onto new ones above all',
  description:
    'Volumes over all OSTs (--stripe-width all) come to new ones too; of the others whole copies are moved, as few ' +
    'as do. Volumes in use are moved by whoever has them open. Ended early, it is simply given again.',
  options: [{ flags: '--dry-run', help: 'only say what would be moved where', default: false }, RATE_OPTION],
  examples: [
    { command: 'rawstor ost rebalance --dry-run', what: 'what would move' },
    { command: 'rawstor ost rebalance --rate 100M', what: 'after an OST was added' },
  ],
  async run(context, _args, options) {
    const cluster = await recoveryCluster(context, options);
    const { timeout } = context.globals;
    const [osts, volumes] = await Promise.all([allOsts(cluster, timeout), allObjects(cluster, timeout)]);
    const rows = await plan(context, osts, volumes);
    if (!options.dryRun) {
      await interruptible(async (signal) => {
        for (const row of rows) await carryOut(context, cluster, row, signal);
      });
    }
    context.output.list(rows, [
      { header: 'VOLUME', cell: (row) => row.volume },
      { header: 'STATE', cell: (row) => row.state },
      { header: 'FROM', cell: (row) => (row.from === null ? 'all' : shortId(row.from)) },
      { header: 'TO', cell: (row) => shortId(row.to) },
      { header: 'BYTES', cell: (row) => (row.from === null ? '' : formatSizeBytes(row.bytes)), right: true },
      { header: '', cell: (row) => row.detail },
    ]);
    if (rows.length === 0) context.note('all OSTs are filled alike, as far as whole copies allow');
    return options.dryRun || rows.every(({ state }) => state === 'moved') ? 0 : EXIT.AGAIN;
  },
});

async function plan(
  context: Context,
  osts: readonly KnownOst[],
  volumes: readonly ObjectInfo[],
): Promise<Row[]> {
  const usable = osts.filter((ost) => ost.alive && !ost.draining);
  const rows: Row[] = [];
  const row = ({ name, id }: ObjectInfo, from: string | null, to: string): Row => {
    return { volume: name, id, from, to, bytes: 0, state: 'to move', detail: '' };
  };
  const whole: ObjectInfo[] = [];
  for (const volume of volumes) {
    const { wanted, map } = volume;
    // Of a run that was ended early, or of a drain: it is finished first.
    if (wanted !== null) rows.push(row(volume, wanted.from, wanted.to));
    if (volume.stripeWidth !== 'all') {
      whole.push(volume);
      continue;
    }
    for (const { ostId } of usable) {
      if (ostId === wanted?.to || map.pool.some((target) => target.ostId === ostId)) continue;
      rows.push(row(volume, null, ostId));
    }
  }
  const links = new OstLinks(context, osts);
  const measured: BalanceVolume[] = [];
  const byId = new Map(volumes.map((volume) => [volume.id, volume]));
  try {
    for (const volume of whole) {
      const { id, name, members } = volume;
      const bytesOn = new Map<string, number>();
      for (const { ostId } of members) {
        const usage = await links.usage(ostId, id);
        if (usage !== null) bytesOn.set(ostId, usage.allocatedBytes);
      }
      const { wanted } = volume;
      const coming = rows.find((other) => other.id === id);
      if (wanted !== null && wanted.from !== null && coming !== undefined) {
        coming.bytes = bytesOn.get(wanted.from) ?? 0;
        bytesOn.delete(wanted.from);
        bytesOn.set(wanted.to, coming.bytes);
      }
      measured.push({ id, name, bytesOn });
    }
  } finally {
    links.close();
  }
  const labels = new Map(osts.map((ost) => [ost.ostId, ost.labels]));
  const mayMove = (volume: BalanceVolume, from: string, to: string) => {
    const { members, failureDomain, wanted } = byId.get(volume.id)!;
    // One move of an object at a time.
    if (wanted !== null) return false;
    const domain = (ostId: string) => labels.get(ostId)?.[failureDomain] || ostId;
    const others = members.filter((member) => member.ostId !== from);
    return others.every(({ ostId }) => ostId !== to && domain(ostId) !== domain(to));
  };
  for (const { id, from, to, bytes } of planBalance(usable, measured, mayMove)) {
    rows.push({ ...row(byId.get(id)!, from, to), bytes });
  }
  return rows;
}

async function carryOut(context: Context, cluster: Cluster, row: Row, signal: AbortSignal): Promise<void> {
  const { timeout } = context.globals;
  const { id, from, to } = row;
  try {
    await cluster.mds.call('mds.move', { id, from, to, dryRun: false }, timeout);
  } catch (error) {
    row.state = 'not possible';
    row.detail = asRawstorError(error).toUserText().split('\n')[0]!;
    return;
  }
  for (;;) {
    const volume = await volumeInfo(cluster, id, timeout);
    if (volume.wanted === null) {
      row.state = 'moved';
      return;
    }
    if (volume.lease === null) {
      const [done] = await recoverAll(context, cluster, [volume], signal);
      row.detail = done?.detail ?? '';
      if (done?.outcome === 'waiting' || done?.outcome === 'failed') {
        row.state = 'waiting';
        return;
      }
    }
    if (signal.aborted) throw signal.reason;
    await context.clock.sleep(LOOK_MS);
  }
}
