import { readFile, symlink } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build, type Plugin } from 'esbuild';

export const ROOT = fileURLToPath(new URL('../..', import.meta.url));

/**
 * Puts the simulation and all that it simulates into one file: a process that runs it starts in a third of the time.
 * @param folder exists, inside the repository, so that packages are found
 * @param edits changes to sources, by path below src/; each throws where it does not apply
 * @returns the file, to be forked: test/sim/worker.ts
 */
export async function bundleWorker(
  folder: string,
  edits: ReadonlyMap<string, (source: string) => string> = new Map(),
): Promise<string> {
  const outfile = join(folder, 'test', 'sim', 'worker.mjs');
  const left = new Set(edits.keys());
  const plugin: Plugin = {
    name: 'edits',
    setup({ onLoad }) {
      onLoad({ filter: /\/src\/.*\.ts$/ }, async ({ path }) => {
        const file = relative(join(ROOT, 'src'), path);
        const edit = edits.get(file);
        if (edit === undefined) return null;
        left.delete(file);
        return { contents: edit(await readFile(path, 'utf8')), loader: 'ts' };
      });
    },
  };
  await build({
    absWorkingDir: ROOT,
    entryPoints: ['test/sim/worker.ts'],
    outfile,
    bundle: true,
    platform: 'node',
    format: 'esm',
    target: 'node20',
    packages: 'external',
    logLevel: 'silent',
    plugins: [plugin],
  });
  if (left.size > 0) throw new Error(`not part of the simulation: ${[...left].join(', ')}`);
  // The addon, from where the file lies.
  await symlink(join(ROOT, 'build'), join(folder, 'build'));
  return outfile;
}
