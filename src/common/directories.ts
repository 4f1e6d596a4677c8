import { mkdirSync } from 'node:fs';
import { dirname } from 'node:path';

/**
 * `mkdir -p`, for one writer. Node's own says ENOENT where the file system is read-only, and never ends where a parent
 * can neither be found nor made (/proc). @throws the error of the system
 */
export function makeDirectory(path: string): void {
  const missing: string[] = [];
  for (let at = path; ; at = dirname(at)) {
    try {
      mkdirSync(at);
      break;
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === 'EEXIST') {
        // A file in the way shows when something is made in it.
        if (missing.length === 0) mkdirSync(at, { recursive: true });
        break;
      }
      if (code !== 'ENOENT' || dirname(at) === at || missing.length > PARENTS_MAX) throw error;
      missing.push(at);
    }
  }
  for (const each of missing.reverse()) mkdirSync(each);
}

const PARENTS_MAX = 1000;
