import type { Context } from '../context.js';
import { damageLines } from '../damaged-places.js';
import { EXIT } from '../exit-codes.js';
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
  if (rows.some(({ state }) => state === 'not possible')) return EXIT.UNSATISFIABLE;
  if (rows.some(({ state }) => state !== 'moved')) return EXIT.AGAIN;
  return rows.some(({ damaged }) => damaged.length > 0) ? EXIT.DAMAGED : 0;
}
