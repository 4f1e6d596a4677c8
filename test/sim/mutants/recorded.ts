import { fileURLToPath } from 'node:url';

/** The seed that caught a mutant when it was last looked for; the changes since may have made it another history. */
export interface Recorded {
  readonly seed: number;
  /** So many seeds were run, counting from 1. */
  readonly after: number;
  readonly violation: string;
}

export const recordedFile = fileURLToPath(new URL('./recorded.json', import.meta.url));
