import { fileURLToPath } from 'node:url';

/** Of a program of this checkout, by the name of its file in this folder, compiled or not: as this one is run. */
export function programPath(program: string): { path: string; compiled: boolean } {
  // Compiled, all that programs share lies in a folder of its own beside this one.
  const compiled = import.meta.url.endsWith('.js');
  const file = compiled ? `../cli/${program}.js` : `./${program}.ts`;
  return { path: fileURLToPath(new URL(file, import.meta.url)), compiled };
}
