import type { OptionSpec } from '../command.js';
import { address, list } from '../options.js';

export interface RebuildOptions {
  dir: string;
  ost?: string[];
  allowMissing: boolean;
  without?: string[];
  doubtful?: 'restore' | 'leave';
  dryRun: boolean;
}

export const REBUILD_OPTIONS: readonly OptionSpec[] = [
  {
    flags: '--dir <path>',
    help: 'directory for the new MDS; there is none yet, or it is empty',
    required: true,
  },
  {
    flags: '--ost <address>',
    help: 'an OST to ask, repeatable; default: all that the MGS of the location has heard of',
    parse: list(address),
  },
  {
    flags: '--allow-missing',
    help: 'go on without OSTs that do not answer: volumes that may have lost writes by that are marked, those that are not whole stay out',
    default: false,
  },
  {
    flags: '--without <ost>',
    help: 'the same for one OST only, by its id or the end of it; it is not asked. Repeatable',
    parse: list((text) => text),
  },
  {
    flags: '--doubtful <what>',
    help: 'volumes of which one OST has no trace, as after a removal that another missed: restore or leave them',
    choices: ['restore', 'leave'],
  },
  { flags: '--dry-run', help: 'only tell what would be', default: false },
];
