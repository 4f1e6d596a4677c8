import { RawstorError } from '../../../common/errors.js';
import { placeChunkOf } from '../../../common/placement.js';
import { formatSizeBytes } from '../../../common/units.js';
import { defineVerb } from '../../command.js';
import { wholeNumber } from '../../options.js';
import { findEither } from '../../snapshots.js';
import { allOsts } from '../../volumes.js';

interface Options {
  from: number;
  count: number;
}

export const map = defineVerb<Options>({
  name: 'map',
  summary: 'show on which OSTs the chunks of a volume are',
  description: 'Snapshots are where their volume is, and a clone begins where its parent was.',
  arguments: [{ name: 'volume', help: 'name or id; VOLUME@SNAPSHOT as far as a snapshot goes' }],
  options: [
    { flags: '--from <chunk>', help: 'first chunk', parse: wholeNumber(0, 2 ** 31), default: 0 },
    { flags: '--count <n>', help: 'how many chunks', parse: wholeNumber(1, 65536), default: 256 },
  ],
  examples: [
    { command: 'rawstor-volume map vm1', what: 'the first 256 chunks, first replica first' },
    { command: 'rawstor-volume map vm1 --from 1000 --count 10', what: 'ten chunks further on' },
  ],
  async run(context, [ref], { from, count }) {
    const cluster = await context.cluster();
    const { timeout } = context.globals;
    const [{ volume, snapshot }, osts] = await Promise.all([
      findEither(context, cluster, ref!),
      allOsts(cluster, timeout),
    ]);
    const hostOf = new Map(osts.map((ost) => [ost.ostId, ost.labels.host ?? '']));
    const chunks = Math.ceil((snapshot ?? volume).sizeBytes / volume.chunkSizeBytes);
    if (from >= chunks) {
      throw new RawstorError(
        'USAGE',
        `the volume has ${chunks === 1 ? 'one chunk' : `${chunks} chunks`}, from 0 on`,
        {
          where: `--from ${from}`,
        },
      );
    }
    const rows = [];
    for (let chunk = from; chunk < Math.min(chunks, from + count); chunk++) {
      const ostIds = placeChunkOf(volume, chunk);
      rows.push({ chunk, offset: chunk * volume.chunkSizeBytes, ostIds });
    }
    context.output.list(rows, [
      { header: 'CHUNK', cell: (row) => String(row.chunk), right: true },
      { header: 'OFFSET', cell: (row) => formatSizeBytes(row.offset), right: true },
      {
        header: 'REPLICAS',
        cell: (row) => row.ostIds.map((id) => `${id} (${hostOf.get(id) || 'no host label'})`).join('  '),
      },
    ]);
    if (from + count < chunks) context.note(`${chunks - from - count} more chunks: see --from`);
    return 0;
  },
});
