import { open, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { asRawstorError } from './errors.js';

/** Writes a text piece by piece, in order. */
export type Pieces = (write: (piece: string | Uint8Array) => Promise<void>) => Promise<void>;

/**
 * Replaces a file as a whole: after a crash at any point there is the old text or the new one, and once
 * this has returned, the new one, also after a power loss; a failure leaves the old one. One writer a path at a time.
 * @throws RawstorError of the system, naming the path
 */
export async function writeFileAtomic(path: string, text: string | Pieces, mode = 0o644): Promise<void> {
  const temporary = `${path}.tmp`;
  try {
    const file = await open(temporary, 'w', mode);
    try {
      if (typeof text === 'string') await file.writeFile(text);
      else await text((piece) => file.appendFile(piece));
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
    await rm(temporary, { force: true }).catch(() => {});
    throw asRawstorError(error, path);
  }
}
