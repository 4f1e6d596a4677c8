import { createRequire } from 'node:module';
import { Writable } from 'node:stream';
import pino from 'pino';
import type pinoPretty from 'pino-pretty';
import { createLogger, type Logger, stderrLog } from '../common/log.js';

/** Of a command, whose stderr is for people: sentences, and with `debug` everything there is. */
export function openCommandLog(program: string, level: 'silent' | 'error' | 'warn' | 'debug'): Logger {
  if (level === 'debug') return prettyLog(program, level);
  const write = (line: string) => {
    process.stderr.write(sentenceOf(program, line));
  };
  return pino({ level, base: null, timestamp: false }, { write });
}

/** `rawstor: the message (name value, ...)` */
function sentenceOf(program: string, line: string): string {
  const { level: _, msg, ...facts } = JSON.parse(line) as Record<string, unknown>;
  const told = Object.entries(facts).map(([name, value]) => `${name} ${factOf(value)}`);
  return `${program}: ${String(msg)}${told.length === 0 ? '' : ` (${told.join(', ')})`}\n`;
}

function factOf(value: unknown): string {
  return typeof value === 'string' ? value : JSON.stringify(value);
}

/** JSON lines for machines; on a terminal the same for people. */
export function openLog(role: string, level: string): Logger {
  return process.stderr.isTTY ? prettyLog(role, level) : createLogger(role, level);
}

function prettyLog(role: string, level: string): Logger {
  // Loaded only here: most commands log nothing.
  const pretty = createRequire(import.meta.url)('pino-pretty') as typeof pinoPretty;
  const stream = pretty({
    destination: new Writable({
      decodeStrings: false,
      write: (text: string, _encoding, done) => {
        stderrLog.write(String(text));
        done();
      },
    }),
    colorize: process.stderr.isTTY,
    ignore: 'pid,hostname,role',
    translateTime: 'HH:MM:ss.l',
  });
  return pino({ level, base: { role, pid: process.pid } }, stream);
}
