import { fork } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { asRawstorError, ERROR_CODES, type ErrorCode, RawstorError } from '../../common/errors.js';
import type { ChildMessage } from '../../common/lifecycle.js';

/** Tells the child that it goes on without its parent. */
const BACKGROUND = 'RAWSTOR_BACKGROUND';

export function inBackground(): boolean {
  return process.env[BACKGROUND] === '1';
}

/**
 * Starts this very command again in a session of its own, and waits until that is ready.
 * @param logPath what it says is added there; null: it goes nowhere
 * @returns its process id
 * @throws RawstorError what it fails with
 */
export async function goToBackground(logPath: string | null): Promise<number> {
  const log = openLog(logPath ?? '/dev/null');
  const [, program, ...args] = process.argv;
  const child = fork(program!, args, {
    detached: true,
    stdio: ['ignore', log, log, 'ipc'],
    env: { ...process.env, [BACKGROUND]: '1' },
  });
  closeSync(log);
  const outcome = await new Promise<ChildMessage | null>((resolve) => {
    child.once('message', (message) => resolve(message as ChildMessage));
    child.once('exit', () => resolve(null));
  });
  if (outcome?.type === 'ready') {
    child.disconnect();
    child.unref();
    return child.pid!;
  }
  if (outcome === null) {
    const hint = logPath === null ? 'see what it says with --foreground' : `see ${logPath}`;
    throw new RawstorError('INTERNAL', 'it ended before it was ready', { hint });
  }
  const { code, message, where, hint } = outcome;
  throw new RawstorError(code in ERROR_CODES ? (code as ErrorCode) : 'INTERNAL', message, { where, hint });
}

function openLog(path: string): number {
  try {
    return openSync(path, 'a', 0o600);
  } catch (error) {
    throw asRawstorError(error, path);
  }
}
