import { fileURLToPath } from 'node:url';
import type { Recorded } from './recorded.js';

export const documentFile = fileURLToPath(new URL('../../../docs/simulation.md', import.meta.url));

/** The document with the seeds on record in its table of planted bugs; rows of bugs without one stay as they are. */
export function withSeeds(document: string, recorded: Readonly<Record<string, Recorded>>): string {
  return document
    .split('\n')
    .map((line) => {
      const cells = line.split('|');
      const known = recorded[cells[1]?.trim() ?? ''];
      if (cells.length !== 6 || known === undefined) return line;
      return [cells[0], cells[1], ` ${known.seed} `, ` ${known.after} `, cells[4], cells[5]].join('|');
    })
    .join('\n');
}
