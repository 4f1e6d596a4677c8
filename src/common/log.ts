import pino from 'pino';
import { RawstorError } from './errors.js';
import { LogOutput } from './log-output.js';

export type Logger = pino.Logger;

/** Where the logs of this process go. */
export const stderrLog = new LogOutput(2);

/**
 * Structured log on stderr: stdout belongs to results.
 * @param role the process's role, in every line
 */
export function createLogger(role: string, level: string = environmentLevel()): Logger {
  return pino({ level, base: { role, pid: process.pid } }, stderrLog);
}

/** RAWSTOR_LOG. @throws RawstorError CONFIG */
export function environmentLevel(): string {
  const level = process.env.RAWSTOR_LOG || 'info';
  if (level in pino.levels.values || level === 'silent') return level;
  throw new RawstorError('CONFIG', `RAWSTOR_LOG is '${level}'`, {
    hint: 'set it to debug, info, warn or error, or not at all',
  });
}

export const silentLogger: Logger = pino({ level: 'silent' });
