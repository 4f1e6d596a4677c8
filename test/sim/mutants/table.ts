import { CLIENT_MUTANTS } from './client-mutants.js';
import { HAND_OVER_MUTANTS } from './hand-over-mutants.js';
import type { Mutant } from './mutant.js';
import { OLDER_COPY_MUTANTS } from './older-copy-mutants.js';
import { RECOVERY_MUTANTS } from './recovery-mutants.js';
import { SERVER_MUTANTS } from './server-mutants.js';
import { VERSION_MUTANTS } from './version-mutants.js';

export const MUTANTS: readonly Mutant[] = [
  ...CLIENT_MUTANTS,
  ...RECOVERY_MUTANTS,
  ...SERVER_MUTANTS,
  ...VERSION_MUTANTS,
  ...HAND_OVER_MUTANTS,
  ...OLDER_COPY_MUTANTS,
];
