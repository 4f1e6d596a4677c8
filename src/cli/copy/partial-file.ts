import { existsSync, statSync } from 'node:fs';
import { type FileHandle, open, rename, rm, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { asRawstorError, RawstorError } from '../../common/errors.js';
import { alone } from './lone-file.js';

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
 * One at a time.
 * @param keep what an earlier one has left, and what this one leaves when it fails
 * @throws RawstorError BUSY
 */
export function withPartialFile<T>(
  file: string,
  write: (partial: string) => Promise<T>,
  options: { keep?: boolean } = {},
): Promise<T> {
  return alone(partialName(file), () => makeFile(file, write, options));
}

/** As `withPartialFile`, for who has seen to it that nobody else does so. */
export async function makeFile<T>(
  file: string,
  write: (partial: string) => Promise<T>,
  { keep = false }: { keep?: boolean } = {},
): Promise<T> {
  const partial = partialName(file);
  if (!keep) await rm(partial, { force: true });
  // As the umask says, like any other file that a user makes. Open all the while: no other file is taken for it.
  const held = await open(partial, keep ? 'a' : 'wx');
  try {
    const made = await write(partial);
    // Where there are no locks, or somebody removed it, this may be another's, and half made.
    if (!(await isAt(held, partial))) throw replaced(partial);
    // Before its name, which a power loss may leave to a file that is not.
    await held.sync();
    await rename(partial, file);
    await syncDirectory(dirname(file));
    return made;
  } catch (error) {
    if (!keep && (await isAt(held, partial))) await rm(partial, { force: true });
    throw error;
  } finally {
    await held.close();
  }
}

async function isAt(held: FileHandle, path: string): Promise<boolean> {
  return statSync(path, { throwIfNoEntry: false })?.ino === (await held.stat()).ino;
}

function replaced(partial: string): RawstorError {
  return new RawstorError('BUSY', 'the file was removed or replaced while it was written', {
    where: partial,
    hint: 'see whether another export to it is under way, then give the command again',
  });
}

async function syncDirectory(path: string): Promise<void> {
  const handle = await open(path, 'r');
  await handle.sync().finally(() => handle.close());
}
