import { loadNative } from '../native/index.js';
import { EAGAIN, errnoError } from './errno.js';

/** Pause after no thread could be had. */
const EXHAUSTED_MS = 100;

/**
 * Closes descriptors that another process has passed. That takes as long as who serves their files likes, so it is not
 * done in the event loop; a process that ends does not wait for it.
 */
export function closeForeign(fds: readonly number[]): Promise<void> {
  return new Promise((resolve) => {
    const begin = () => {
      if (!loadNative().foreignClose([...fds], resolve)) setTimeout(begin, EXHAUSTED_MS);
    };
    begin();
  });
}

export interface ForeignFile {
  /** As statfs(2) numbers them. */
  readonly fileSystem: number;
  readonly sizeBytes: number;
  /** The bits of `mode` that say what it is. */
  readonly kind: number;
}

/** What a descriptor is that another process has passed; not asked in the event loop either. @throws RawstorError */
export function foreignFile(fd: number): Promise<ForeignFile> {
  return new Promise((resolve, reject) => {
    const asked = loadNative().foreignFile(fd, (fileSystem, sizeBytes, kind) => {
      if (fileSystem < 0) reject(errnoError(fileSystem, 'fstatfs', `descriptor ${fd}`));
      else resolve({ fileSystem, sizeBytes, kind });
    });
    if (!asked) reject(errnoError(-EAGAIN, 'pthread_create', ''));
  });
}
