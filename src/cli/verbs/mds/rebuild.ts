import { defineVerb } from '../../command.js';
import { REBUILD_OPTIONS, type RebuildOptions } from '../../rebuild/options.js';
import { rebuild } from '../../rebuild/rebuild.js';

export const mdsRebuild = defineVerb<RebuildOptions>({
  name: 'rebuild',
  summary: 'make a new MDS from what the OSTs keep, when the old one is lost',
  description:
    'All OSTs must run, the MDS must not. Every volume comes back with the newest in-sync set that any OST has ' +
    'seen, and with an epoch above all; clients that have one open go on. Lists what becomes of each volume; where ' +
    'an OST does not answer, or a volume is doubtful, nothing is written until that is decided.',
  options: REBUILD_OPTIONS,
  examples: [
    { command: 'rawstor mds rebuild --dir /srv/mds --dry-run', what: 'what would come back' },
    {
      command: 'rawstor mds rebuild --dir /srv/mds --ost 10.0.0.2:7777,10.0.0.3:7777',
      what: 'without an MGS that knows the OSTs',
    },
  ],
  run: (context, _args, options) => rebuild(context, options, null),
});
