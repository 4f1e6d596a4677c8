import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { writeFileAtomic } from './atomic-file.js';
import { asRawstorError, RawstorError } from './errors.js';
import { isId } from './ids.js';

/** `rawstor-<role>.json` in a server's directory: says whose directory it is, and of which cluster. */
const FORMAT = 1;

const identitySchema = z.object({
  format: z.number(),
  /** '' while an MGS has not met its cluster. */
  clusterId: z.string().refine((id) => id === '' || isId(id)),
  /** Of this server among its like. */
  serverId: z.string().refine(isId),
});

export interface ServerIdentity {
  readonly clusterId: string;
  readonly serverId: string;
}

export interface IdentityOptions {
  readonly role: string;
  /** Files that a first start which was cut short may leave besides. */
  readonly ownNames: readonly string[];
  /** What to do when the file is damaged. */
  readonly repair: string;
}

/**
 * The directory's identity, or null for an empty directory that may become this role's.
 * @throws RawstorError CONFIG for a directory with other files, BAD_DATA, VERSION, or the system's
 */
export async function readIdentityFile(
  directory: string,
  options: IdentityOptions,
): Promise<ServerIdentity | null> {
  const file = join(directory, nameOf(options.role));
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw asRawstorError(error, file);
    await checkEmpty(directory, options);
    return null;
  }
  const identity = parse(text, file, options.repair);
  if (identity.format !== FORMAT) {
    throw new RawstorError(
      'VERSION',
      `the directory has format ${identity.format}, this program knows ${FORMAT}`,
      {
        where: file,
        hint: 'use the version of the program that wrote it, or a newer one',
      },
    );
  }
  return identity;
}

/** Durable when it returns. */
export async function writeIdentityFile(
  directory: string,
  role: string,
  { clusterId, serverId }: ServerIdentity,
): Promise<void> {
  const text = `${JSON.stringify({ format: FORMAT, clusterId, serverId }, null, 2)}\n`;
  await writeFileAtomic(join(directory, nameOf(role)), text, 0o600);
}

function nameOf(role: string): string {
  return `rawstor-${role}.json`;
}

function parse(text: string, where: string, hint: string): z.infer<typeof identitySchema> {
  try {
    return identitySchema.parse(JSON.parse(text));
  } catch (cause) {
    throw new RawstorError('BAD_DATA', 'the file is damaged: it is not JSON with the fields it should have', {
      where,
      hint,
      cause,
    });
  }
}

/** Somebody else's files are never mixed with ours. */
async function checkEmpty(directory: string, { role, ownNames }: IdentityOptions): Promise<void> {
  const known = new Set(['lock', 'lost+found', `${nameOf(role)}.tmp`, ...ownNames]);
  const foreign = (await readdir(directory)).filter((name) => !known.has(name)).sort();
  if (foreign.length === 0) return;
  const other = foreign.find((name) => /^rawstor-\w+\.json$/.test(name));
  const what =
    other === undefined ? `it holds other files (${foreign[0]})` : `it is another server's (${other})`;
  throw new RawstorError('CONFIG', `the directory is not one of an ${role.toUpperCase()}: ${what}`, {
    where: directory,
    hint: `give the ${role.toUpperCase()} an empty directory of its own`,
  });
}

/** @throws RawstorError CONFIG for a configured id that is none, or of another cluster than the directory's */
export function checkClusterId(wanted: string | undefined, known: string, where: string): void {
  if (wanted === undefined) return;
  if (!isId(wanted)) {
    throw new RawstorError('CONFIG', `'${wanted}' is not a cluster id`, { hint: 'a cluster id is a UUID' });
  }
  if (known === '' || known === wanted) return;
  throw new RawstorError('CONFIG', `the directory belongs to cluster ${known}, not to ${wanted}`, {
    where,
    hint: 'start on the right directory, or correct the cluster id',
  });
}
