import { existsSync } from 'node:fs';
import { rename, rm, stat, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { asRawstorError, RawstorError } from '../../common/errors.js';

/** Files that an export makes. */

/** @throws RawstorError CANNOT_CREATE, EXISTS */
export async function checkNewFile(file: string, force: boolean): Promise<void> {
  let found: Awaited<ReturnType<typeof stat>>;
  try {
    found = await stat(file);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw asRawstorError(error, file);
    if (existsSync(dirname(file))) return;
    throw new RawstorError('CANNOT_CREATE', 'there is no directory for the file', {
      where: dirname(file),
      hint: 'make it first, or choose another',
    });
  }
  if (!found.isFile())
    throw new RawstorError('CANNOT_CREATE', 'there is something else than a file', { where: file });
  if (!force)
    throw new RawstorError('EXISTS', 'the file exists', { where: file, hint: 'replace it with --force' });
}

/** Under another name first, where it is empty: a file of its own name is always whole. */
export async function withPartialFile<T>(file: string, write: (partial: string) => Promise<T>): Promise<T> {
  const partial = `${file}.rawstor-partial`;
  try {
    await rm(partial, { force: true });
    // As the umask says, like any other file that a user makes.
    await writeFile(partial, '', { flag: 'wx' });
    const made = await write(partial);
    await rename(partial, file);
    return made;
  } catch (error) {
    await rm(partial, { force: true });
    throw error;
  }
}
