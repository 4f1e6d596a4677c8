import pino from 'pino';

export type Logger = pino.Logger;

/**
 * Structured log on stderr: stdout belongs to results.
 * @param role the process's role, in every line
 */
export function createLogger(role: string, level: string = process.env.RAWSTOR_LOG ?? 'info'): Logger {
  return pino({ level, base: { role, pid: process.pid } }, pino.destination({ fd: 2, sync: true }));
}

export const silentLogger: Logger = pino({ level: 'silent' });
