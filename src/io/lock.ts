import { closeSync, ftruncateSync, openSync, readFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { asRawstorError, RawstorError } from '../common/errors.js';
import { loadNative } from '../native/index.js';
import { errnoError } from './errno.js';

export interface DirectoryLock {
  release(): void;
}

/**
 * Takes a directory for this process alone, until `release` or the process's end, however it ends. The file
 * `lock` in it stays and says who holds it.
 * @throws RawstorError BUSY naming the holder, NOT_FOUND, DENIED ...
 */
export function lockDirectory(path: string): DirectoryLock {
  const file = join(path, 'lock');
  let fd: number;
  try {
    fd = openSync(file, 'a+', 0o600);
  } catch (error) {
    throw asRawstorError(error, file);
  }
  const result = loadNative().lockExclusive(fd);
  if (result < 0) {
    closeSync(fd);
    const EACCES = -13;
    const EAGAIN = -11;
    if (result !== EAGAIN && result !== EACCES) throw errnoError(result, 'fcntl', file);
    const holder = readFileSync(file, 'utf8').trim();
    throw new RawstorError(
      'BUSY',
      `the directory is in use by ${holder === '' ? 'another process' : holder}`,
      {
        where: path,
        hint: 'stop that process first; two must never share one directory',
      },
    );
  }
  ftruncateSync(fd);
  writeSync(fd, `process ${process.pid}\n`);
  let held = true;
  return {
    release: () => {
      if (held) closeSync(fd);
      held = false;
    },
  };
}
