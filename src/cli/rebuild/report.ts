import { formatSizeBytes } from '../../common/units.js';
import type { Finding, RebuildPlan } from '../../mds/index.js';
import type { Context } from '../context.js';
import { shortId } from '../volumes.js';
import type { RebuildOptions } from './options.js';

interface Row {
  readonly name: string;
  /** Where another volume has the same name. */
  readonly newName: string | null;
  readonly id: string;
  readonly sizeBytes: number;
  readonly fate: Finding['fate'];
  readonly back: boolean;
  readonly why: string;
  readonly epoch: number | null;
  readonly heldBy: readonly string[];
}

/** What becomes of each volume, on stdout. */
export function report(
  context: Context,
  plan: RebuildPlan,
  options: RebuildOptions,
  fromDump: boolean,
): void {
  const back = new Map(plan.objects.map(({ object }) => [object.id, object.epoch]));
  const rows = plan.findings.map(({ id, name, sizeBytes, fate, why, heldBy }): Row => {
    const epoch = back.get(id) ?? null;
    const newName = plan.renamed.get(id) ?? null;
    return { name, newName, id, sizeBytes, fate, back: epoch !== null, why, epoch, heldBy };
  });
  context.output.list(rows, [
    { header: 'NAME', cell: ({ name, newName }) => newName ?? name },
    { header: 'ID', cell: ({ id }) => id },
    { header: 'SIZE', cell: ({ sizeBytes }) => formatSizeBytes(sizeBytes), right: true },
    { header: 'BACK', cell: (row) => (row.back ? 'yes' : 'no') },
    { header: 'STATE', cell: ({ fate }) => fate },
    { header: 'WHY', cell: why },
  ]);
  const counted = `${plan.objects.length} of ${rows.length} volumes`;
  const asked = plan.osts.length - plan.missing.filter((id) => plan.osts.some((o) => o.ostId === id)).length;
  const would = options.dryRun ? 'would come back' : 'come back';
  context.note(`cluster ${plan.clusterId}: ${asked} OSTs answered; ${counted} ${would}`);
  const draining = plan.osts.filter((ost) => ost.draining === true && ost.removed !== true);
  for (const { ostId } of draining) {
    context.warn(
      `OST ${ostId} was being drained, and stays marked: give \`rawstor ost drain ${ostId}\` again`,
    );
  }
  if (!fromDump) {
    context.note('moves that were wanted are not known to OSTs: a drain or rebalance is to be given again');
  }
  for (const ostId of plan.missing) {
    const touched = rows.filter((row) => row.why.includes(ostId)).map(({ name }) => name);
    context.warn(
      `OST ${ostId} is missing${touched.length === 0 ? '' : `, which concerns ${touched.join(', ')}`}`,
    );
  }
}

function why(row: Row): string {
  const parts = row.why === '' ? [] : [row.why];
  if (row.newName !== null) parts.push(`renamed: another one is named ${row.name}`);
  if (row.fate === 'removed' && row.heldBy.length > 0) {
    parts.push(`still on ${row.heldBy.map(shortId).join(', ')}, which will be told`);
  }
  return parts.join('; ');
}
