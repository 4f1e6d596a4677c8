import { createRequire } from 'node:module';
import pino from 'pino';
import type pinoPretty from 'pino-pretty';
import { createLogger, type Logger } from '../common/log.js';

/** JSON lines for machines; on a terminal the same for people. */
export function openLog(role: string, level: string): Logger {
  if (!process.stderr.isTTY) return createLogger(role, level);
  // Loaded only here: most commands log nothing.
  const pretty = createRequire(import.meta.url)('pino-pretty') as typeof pinoPretty;
  const stream = pretty({
    destination: 2,
    sync: true,
    ignore: 'pid,hostname,role',
    translateTime: 'HH:MM:ss.l',
  });
  return pino({ level, base: { role, pid: process.pid } }, stream);
}
