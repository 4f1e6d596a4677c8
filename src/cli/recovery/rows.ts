import type { Cluster } from '../../client/index.js';
import { ERROR_CODES, RawstorError } from '../../common/errors.js';
import type { Context } from '../context.js';
import { damageLines } from '../damaged-places.js';
import { allOsts, type KnownOst } from '../volumes.js';
import type { EvacuationRow } from './evacuate.js';

export function printEvacuation(context: Context, rows: readonly EvacuationRow[]): void {
  context.output.list(rows, [
    { header: 'VOLUME', cell: (row) => row.volume },
    { header: 'STATE', cell: (row) => row.state },
    { header: 'NEW OST', cell: (row) => row.to ?? '' },
    { header: 'ONLY COPY', cell: (row) => (row.onlyCopy ? 'yes' : '') },
    { header: '', cell: (row) => row.detail },
  ]);
  const damaged = rows.flatMap((row) => row.damaged);
  if (damaged.length === 0 || context.output.format !== 'table') return;
  for (const line of ['', ...damageLines(damaged)]) context.output.line(line);
}

/** 0 when nothing is left to move, and all that was moved is what was written. */
export function evacuationExit(rows: readonly EvacuationRow[]): number {
  if (rows.some(({ state }) => state === 'not possible')) return ERROR_CODES.UNSATISFIABLE.exit;
  if (rows.some(({ state }) => state !== 'moved')) return ERROR_CODES.BUSY.exit;
  return rows.some(({ damaged }) => damaged.length > 0) ? ERROR_CODES.CHECKSUM.exit : 0;
}

/** By its id or the end of it. @throws RawstorError NOT_FOUND, USAGE */
export async function findOst(context: Context, cluster: Cluster, ref: string): Promise<KnownOst> {
  const osts = await allOsts(cluster, context.globals.timeout);
  const found = osts.filter((ost) => ost.ostId === ref || (ref.length >= 4 && ost.ostId.endsWith(ref)));
  if (found.length === 1) return found[0]!;
  const hint = 'the id, or the end of it, as `rawstor ost ls` shows it';
  if (found.length > 1) throw new RawstorError('USAGE', `'${ref}' is the end of several ids`, { hint });
  throw new RawstorError('NOT_FOUND', `there is no OST '${ref}'`, { hint });
}
