import { open, rename } from 'node:fs/promises';
import { dirname } from 'node:path';
import { asRawstorError } from './errors.js';

/**
 * Replaces a small file as a whole: after a crash at any point there is the old text or the new one, and once
 * this has returned, the new one, also after a power loss. One writer a path at a time.
 * @throws RawstorError of the system, naming the path
 */
export async function writeFileAtomic(path: string, text: string, mode = 0o644): Promise<void> {
  const temporary = `${path}.tmp`;
  try {
    const file = await open(temporary, 'w', mode);
    try {
      await file.writeFile(text);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
    const directory = await open(dirname(path), 'r');
    try {
      await directory.sync();
    } finally {
      await directory.close();
    }
  } catch (error) {
    throw asRawstorError(error, path);
  }
}
