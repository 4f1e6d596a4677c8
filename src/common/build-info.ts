import { readFileSync } from 'node:fs';

/** From package.json, which lies as far from src/common as from dist/common. */
export function programVersion(): string {
  const text = readFileSync(new URL('../../package.json', import.meta.url), 'utf8');
  return (JSON.parse(text) as { version: string }).version;
}
