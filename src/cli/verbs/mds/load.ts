import { readFile } from 'node:fs/promises';
import { buffer } from 'node:stream/consumers';
import { asRawstorError } from '../../../common/errors.js';
import { defineVerb } from '../../command.js';
import { REBUILD_OPTIONS, type RebuildOptions } from '../../rebuild/options.js';
import { rebuild } from '../../rebuild/rebuild.js';

export const mdsLoad = defineVerb<RebuildOptions>({
  name: 'load',
  summary: 'make a new MDS from a dump and what the OSTs keep',
  description:
    'A dump alone may be of long ago: it does not know which replicas were dropped since, and would take an old one for ' +
    'complete. So all OSTs are asked as by `rawstor mds rebuild`, and what is newer counts. The dump adds where the ' +
    'OSTs are, marks of losses, and removals.',
  arguments: [{ name: 'file', help: 'a dump, - for standard input' }],
  options: REBUILD_OPTIONS,
  examples: [
    { command: 'rawstor mds load /backup/mds.jsonl --dir /srv/mds', what: 'all OSTs running, the MDS not' },
    { command: 'rawstor mds load /backup/mds.jsonl --dir /srv/mds --dry-run', what: 'only look' },
  ],
  async run(context, [file], options) {
    const { parseDump } = await import('../../../mds/index.js');
    const dump = parseDump(await read(file!), file === '-' ? 'standard input' : file!);
    context.note(`dump of ${new Date(dump.takenWallMs).toISOString()}: ${dump.objects.length} volumes`);
    return await rebuild(context, options, dump);
  },
});

async function read(file: string): Promise<Uint8Array> {
  try {
    return file === '-' ? await buffer(process.stdin) : await readFile(file);
  } catch (error) {
    throw asRawstorError(error, file);
  }
}
