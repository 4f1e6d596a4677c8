import { existsSync } from 'node:fs';
import { open, rename, rm, stat, writeFile } from 'node:fs/promises';
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

export function partialName(file: string): string {
  return `${file}.rawstor-partial`;
}

/**
 * Under another name first, where it is empty: a file of its own name is always whole. Durable when it answers, name included.
 * @param keep what an earlier one has left, and what this one leaves when it fails
 */
export async function withPartialFile<T>(
  file: string,
  write: (partial: string) => Promise<T>,
  { keep = false }: { keep?: boolean } = {},
): Promise<T> {
  const partial = partialName(file);
  try {
    if (!keep) await rm(partial, { force: true });
    // As the umask says, like any other file that a user makes.
    await writeFile(partial, '', { flag: keep ? 'a' : 'wx' });
    const made = await write(partial);
    // Before its name, which a power loss may leave to a file that is not.
    await makeDurable(partial, 'r+');
    await rename(partial, file);
    await makeDurable(dirname(file), 'r');
    return made;
  } catch (error) {
    if (!keep) await rm(partial, { force: true });
    throw error;
  }
}

async function makeDurable(path: string, flags: string): Promise<void> {
  const handle = await open(path, flags);
  await handle.sync().finally(() => handle.close());
}
