/**
 * Compiles the programs of package.json's `bin` from src/ to dist/, without the types, which `npm run check` looks at. What they share is in
 * few files in dist/shared: a program that loads hundreds of small ones takes twice as long to begin. Paths that code takes from
 * import.meta.url hold in both places, as that folder is as deep as those of src/.
 */
import { readFileSync, rmSync } from 'node:fs';
import { build } from 'esbuild';

const { bin } = JSON.parse(readFileSync('package.json', 'utf8')) as { bin: Record<string, string> };

rmSync('dist/shared', { recursive: true, force: true });
await build({
  entryPoints: Object.values(bin).map((path) => path.replace(/^dist/, 'src').replace(/js$/, 'ts')),
  bundle: true,
  splitting: true,
  format: 'esm',
  platform: 'node',
  target: 'node20',
  // zod is many small files; the others have parts that are found by their own place.
  external: [
    'commander',
    'fast-xml-parser',
    'lmdb',
    'msgpackr',
    'pino',
    'pino-pretty',
    'prom-client',
    'smol-toml',
  ],
  sourcemap: 'linked',
  outbase: 'src',
  outdir: 'dist',
  chunkNames: 'shared/[name]-[hash]',
  logLevel: 'warning',
});
