import { RawstorError } from '../../common/errors.js';
import type { Result } from '../../protocol/index.js';
import { defineVerb } from '../command.js';
import { EXIT } from '../exit-codes.js';
import { OstLinks } from '../ost-links.js';
import { tableLines } from '../output.js';
import { allOsts } from '../volumes.js';

interface Options {
  dryRun: boolean;
}

type Row = Result<'ost.collect'> & { ostId: string };

export const gc = defineVerb<Options>({
  name: 'gc',
  summary: "remove what is nobody's any more from the OSTs",
  description:
    'What is left of removed volumes, of copies that have moved elsewhere and of versions that were forgotten: each OST looks for ' +
    'that by itself every ten minutes, this asks all to do it now. Only what is on record as removed or moved goes. ' +
    'What the metadata server does not know of is listed and stays: it may be what that server has lost.',
  options: [{ flags: '--dry-run', help: 'only say what would be removed', default: false }],
  examples: [
    { command: 'rawstor gc --dry-run', what: 'what is there, and what nobody knows' },
    { command: 'rawstor gc', what: 'after an OST was away for long' },
  ],
  async run(context, _arguments, { dryRun }) {
    const cluster = await context.cluster();
    const osts = (await allOsts(cluster, context.globals.timeout)).filter((ost) => ost.alive);
    if (osts.length === 0) throw new RawstorError('UNAVAILABLE', 'no OST is up');
    const links = new OstLinks(context, osts);
    const rows: Row[] = [];
    try {
      for (const { ostId } of osts) {
        const found = await links.call(ostId, 'ost.collect', { dryRun });
        if (found !== null) rows.push({ ostId, ...found });
      }
    } finally {
      links.close();
    }
    context.output.one({ dryRun, osts: rows, failures: links.failures }, () => describe(rows));
    for (const failure of links.failures) context.note(failure);
    return links.failures.length === 0 ? 0 : EXIT.AGAIN;
  },
});

function describe(rows: readonly Row[]): string[] {
  const lines = tableLines(rows, [
    { header: 'OST', cell: (row) => row.ostId },
    { header: 'VOLUMES', cell: (row) => String(row.objects), right: true },
    { header: 'REMOVED', cell: (row) => String(row.removed.length + row.strayObjects), right: true },
    { header: 'MOVED AWAY', cell: (row) => String(row.left.length), right: true },
    { header: 'OLD CHUNKS', cell: (row) => String(row.strayChunks), right: true },
    { header: 'UNKNOWN', cell: (row) => String(row.unknown.length), right: true },
  ]);
  for (const { ostId, unknown } of rows) {
    for (const id of unknown) lines.push(`unknown to the metadata server, kept: ${id} on OST ${ostId}`);
  }
  return lines;
}
