import { isAbsolute, relative } from 'node:path';
import { RawstorError } from '../../common/errors.js';

/**
 * A mount covers what is in its directory. Both paths are absolute.
 * @param locationFile what names the cluster, if a file does
 * @throws RawstorError USAGE where that would be this system, or the cluster's own files
 */
export function checkMountDirectory(directory: string, locationFile: string | null): void {
  const hint = 'mount on an empty directory of its own';
  if (directory === '/') {
    throw new RawstorError('USAGE', 'a mount on / would cover the whole system', { where: directory, hint });
  }
  if (locationFile === null) return;
  const inside = relative(directory, locationFile);
  if (inside.startsWith('..') || isAbsolute(inside)) return;
  throw new RawstorError('USAGE', `a mount there would cover what names its cluster: ${locationFile}`, {
    where: directory,
    hint,
  });
}
