import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { RawstorError } from '../src/common/errors.js';

const LIB = join(fileURLToPath(new URL('..', import.meta.url)), 'scripts/lib.sh');

/**
 * Installs what is missing of these Debian packages.
 * @throws RawstorError UNAVAILABLE when that is not possible here
 */
export function needPackages(...names: readonly string[]): void {
  const { status, stderr } = spawnSync('bash', ['-c', '. "$0" && need_packages "$@"', LIB, ...names], {
    stdio: ['ignore', 'ignore', 'pipe'],
    encoding: 'utf8',
  });
  if (status === 0) return;
  throw new RawstorError('UNAVAILABLE', `Debian's ${names.join(', ')} cannot be installed`, {
    hint: stderr.trim().split('\n').at(-1),
  });
}

/** @throws RawstorError UNAVAILABLE: only root may make namespaces */
export function needRoot(what: string): void {
  if (process.getuid?.() === 0) return;
  throw new RawstorError('UNAVAILABLE', `${what} runs in namespaces of its own, which only root may make`, {
    hint: 'run the benchmark as root',
  });
}
