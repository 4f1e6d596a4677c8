import { readFileSync } from 'node:fs';
import { hostname } from 'node:os';

/** From package.json, which lies as far from src/cli as from dist/cli. */
export function programVersion(): string {
  const text = readFileSync(new URL('../../package.json', import.meta.url), 'utf8');
  return (JSON.parse(text) as { version: string }).version;
}

/** Who a connection comes from, for logs and `status`. */
export function processName(program: string): string {
  return `${program}@${hostname()}:${process.pid}`;
}
