import { mkdirSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { RawstorError } from './errors.js';
import { openAsUsual } from './private-files.js';

/**
 * `mkdir -p`, for one writer; what is made is for its owner only, directories above it are as the umask says. Node's own
 * says ENOENT where the file system is read-only, and never ends where a parent can neither be found nor made (/proc).
 * @throws the error of the system; RawstorError USAGE where a file is there
 */
export function makeDirectory(path: string): void {
  const missing: string[] = [];
  for (let at = path; ; at = dirname(at)) {
    try {
      make(at, path);
      break;
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === 'EEXIST') {
        // A file in the way of more shows when something is made in it.
        if (missing.length === 0 && !statSync(at).isDirectory()) throw notDirectory(at);
        break;
      }
      if (code !== 'ENOENT' || dirname(at) === at || missing.length > PARENTS_MAX) throw error;
      missing.push(at);
    }
  }
  for (const each of missing.reverse()) make(each, path);
}

function notDirectory(path: string): RawstorError {
  return new RawstorError('USAGE', 'this is a file, a directory is wanted', {
    where: path,
    hint: 'name a directory; one that is not there is made',
  });
}

function make(at: string, path: string): void {
  mkdirSync(at, at === path ? 0o700 : 0o777);
  if (at !== path) openAsUsual(at);
}

const PARENTS_MAX = 1000;
