import { defineVerb } from '../../command.js';
import { create, SNAPSHOT_ARGUMENT, takeSnapshot } from './create.js';
import { ls } from './ls.js';
import { protect, unprotect } from './protect.js';
import { publish } from './publish.js';
import { rename } from './rename.js';
import { rm } from './rm.js';
import { rollback } from './rollback.js';

export const snapshot = defineVerb({
  name: 'snapshot',
  aliases: ['snap'],
  summary: 'take a snapshot, list, remove, roll back',
  description: '`snapshot VOLUME@SNAPSHOT` is short for `snapshot create VOLUME@SNAPSHOT`.',
  arguments: [SNAPSHOT_ARGUMENT],
  verbs: [create, ls, rm, rename, protect, unprotect, publish, rollback],
  examples: [
    { command: 'rawstor-volume snapshot vm1@monday', what: 'an exact cut, while the guest runs' },
    { command: 'rawstor-volume snapshot rollback vm1@monday', what: 'back to it, with the guest ended' },
  ],
  run: (context, [text]) => takeSnapshot(context, text!),
});
