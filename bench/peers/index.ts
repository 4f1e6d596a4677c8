import type { StartSubject } from '../types.js';
import { startNbdkitFile } from './nbdkit.js';
import { startQemuNbd, startQemuNbdUring } from './qemu-nbd.js';
import { startQemuQuorum } from './qemu-quorum.js';

export type Kind = 'local' | 'replicated3';

/** What each kind of volume of ours is held against, by the name `--peer` takes. */
export const PEERS: Readonly<Record<Kind, Readonly<Record<string, StartSubject>>>> = {
  local: {
    'qemu-nbd': startQemuNbd,
    'qemu-nbd-uring': startQemuNbdUring,
    nbdkit: startNbdkitFile,
  },
  replicated3: { 'qemu-quorum': startQemuQuorum },
};
