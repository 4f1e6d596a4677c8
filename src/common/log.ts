import pino from 'pino';
import { LogOutput } from './log-output.js';

export type Logger = pino.Logger;

/** Where the logs of this process go. */
export const stderrLog = new LogOutput(2);

/**
 * Structured log on stderr: stdout belongs to results.
 * @param role the process's role, in every line
 */
export function createLogger(role: string, level: string = process.env.RAWSTOR_LOG ?? 'info'): Logger {
  return pino({ level, base: { role, pid: process.pid } }, stderrLog);
}

export const silentLogger: Logger = pino({ level: 'silent' });
