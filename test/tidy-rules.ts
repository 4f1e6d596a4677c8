import { posix } from 'node:path';
import ts from 'typescript';

/** Files of the repository by path from its root: src/, package.json, binding.gyp. */
export type Files = ReadonlyMap<string, string>;

export const LINES_MAX = 300;

/** Parts of src/ and the parts below them that each may use. */
const BELOW: Readonly<Record<string, readonly string[]>> = {
  common: [],
  native: ['common'],
  io: ['common', 'native'],
  protocol: ['common', 'native', 'io'],
  block: ['common', 'native', 'io', 'protocol'],
  client: ['common', 'native', 'io', 'protocol', 'block'],
  ost: ['common', 'native', 'io', 'protocol', 'block'],
  mds: ['common', 'native', 'io', 'protocol', 'block'],
  mgs: ['common', 'native', 'io', 'protocol', 'block'],
  'nbd-server': ['common', 'native', 'io', 'protocol', 'block', 'client'],
  vhost: ['common', 'native', 'io', 'protocol', 'block', 'client'],
  's3-lite': ['common', 'native', 'io', 'protocol', 'block', 'client'],
  fuse: ['common', 'native', 'io', 'protocol', 'block', 'client'],
};

/** Assembles the other parts, and is imported by none. */
const ASSEMBLER = 'cli';

/** Parts whose files are each an entry of their own. */
const OPEN_PARTS = ['common', 'protocol'];

/** Files with contracts, which other parts import past the index to get nothing else along. */
const CONTRACTS = ['src/io/types.ts', 'src/io/memory.ts', 'src/io/pool.ts', 'src/block/device.ts'];

interface Reference {
  /** Path from the repository's root of the file meant. */
  target: string;
  /** Only named, to be run in another process or thread. */
  spawned: boolean;
}

interface Parsed {
  references: Reference[];
  hasDefaultExport: boolean;
}

function isSource(path: string): boolean {
  return path.startsWith('src/') && path.endsWith('.ts');
}

function isNative(path: string): boolean {
  return path.startsWith('src/') && /\.(cc|h)$/.test(path);
}

function partOf(path: string): string {
  return path.split('/')[1]!;
}

function resolveFrom(path: string, specifier: string): string | null {
  if (!specifier.startsWith('.')) return null;
  return posix.normalize(posix.join(posix.dirname(path), specifier.replace(/\.js$/, '.ts')));
}

/** Specifier of an import in any of its forms, or null. */
function specifierOf(node: ts.Node): { text: string; spawned: boolean } | null {
  let literal: ts.Node | undefined;
  let spawned = false;
  if (ts.isImportDeclaration(node) || ts.isExportDeclaration(node)) literal = node.moduleSpecifier;
  else if (ts.isImportTypeNode(node) && ts.isLiteralTypeNode(node.argument)) literal = node.argument.literal;
  else if (ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword) {
    literal = node.arguments[0];
  } else if (ts.isNewExpression(node) && node.expression.getText() === 'URL') {
    literal = node.arguments?.[0];
    spawned = true;
  }
  return literal !== undefined && ts.isStringLiteralLike(literal) ? { text: literal.text, spawned } : null;
}

function exportsDefault(node: ts.Node): boolean {
  if (ts.isExportAssignment(node)) return true;
  if (ts.isExportSpecifier(node)) return node.name.text === 'default';
  if (!ts.canHaveModifiers(node)) return false;
  return ts.getModifiers(node)?.some((modifier) => modifier.kind === ts.SyntaxKind.DefaultKeyword) ?? false;
}

function parse(path: string, text: string): Parsed {
  const parsed: Parsed = { references: [], hasDefaultExport: false };
  const visit = (node: ts.Node): void => {
    const specifier = specifierOf(node);
    const target = specifier && resolveFrom(path, specifier.text);
    if (target) parsed.references.push({ target, spawned: specifier.spawned });
    if (exportsDefault(node)) parsed.hasDefaultExport = true;
    ts.forEachChild(node, visit);
  };
  visit(ts.createSourceFile(path, text, ts.ScriptTarget.Latest, true));
  return parsed;
}

function parseAll(files: Files): Map<string, Parsed> {
  return new Map(
    [...files].filter(([path]) => isSource(path)).map(([path, text]) => [path, parse(path, text)]),
  );
}

function assembles(path: string): boolean {
  return partOf(path) === ASSEMBLER || /^src\/[^/]+\/main\.ts$/.test(path);
}

/** Programs of package.json and every part's main.ts. */
export function entries(files: Files): string[] {
  const bin = (JSON.parse(files.get('package.json') ?? '{}') as { bin?: Record<string, string> }).bin ?? {};
  const programs = Object.values(bin).map((path) => path.replace(/^dist\//, 'src/').replace(/\.js$/, '.ts'));
  return [
    ...new Set([...programs, ...[...files.keys()].filter((path) => /^src\/[^/]+\/main\.ts$/.test(path))]),
  ];
}

/** Imports go downwards, and through the other part's index.ts. */
export function checkImports(files: Files): string[] {
  const found: string[] = [];
  for (const [path, { references }] of parseAll(files)) {
    const part = partOf(path);
    if (part !== ASSEMBLER && BELOW[part] === undefined) found.push(`${path}: a part without a rule`);
    for (const { target, spawned } of references) {
      if (spawned) continue;
      if (!target.startsWith('src/')) {
        found.push(`${path}: imports ${target}, outside src/`);
        continue;
      }
      const other = partOf(target);
      if (other === part) continue;
      if (!assembles(path) && !BELOW[part]?.includes(other))
        found.push(`${path}: ${part} may not use ${other}`);
      const direct = OPEN_PARTS.includes(other) || CONTRACTS.includes(target);
      if (!direct && target !== `src/${other}/index.ts`)
        found.push(`${path}: imports ${target} past its index`);
    }
  }
  return found;
}

/** Over the limit for now, each with the reason; a file that shrinks below it must leave the list. */
export const LONG_FILES: ReadonlyMap<string, string> = new Map([
  ['src/io/ring.ts', 'one loop over the rings: to be cut where submission and completion part'],
  ['src/native/sockets.cc', 'every socket call of the addon: to be cut into listening and connecting'],
]);

export function checkSizes(files: Files, exceptions: ReadonlyMap<string, string> = new Map()): string[] {
  const found: string[] = [];
  for (const [path, text] of files) {
    if (!isSource(path) && !isNative(path)) continue;
    const lines = text.split('\n').length - (text.endsWith('\n') ? 1 : 0);
    if (lines > LINES_MAX && !exceptions.has(path))
      found.push(`${path}: ${lines} lines, more than ${LINES_MAX}`);
  }
  return found;
}

/** Every file is reached from a program; every C++ file from binding.gyp. */
export function checkDeadFiles(files: Files): string[] {
  const parsed = parseAll(files);
  const found = entries(files)
    .filter((path) => !files.has(path))
    .map((path) => `package.json: its program ${path} is not there`);
  const reached = new Set<string>();
  const queue = entries(files);
  for (let path = queue.pop(); path !== undefined; path = queue.pop()) {
    if (reached.has(path) || !files.has(path)) continue;
    reached.add(path);
    for (const { target } of parsed.get(path)?.references ?? []) queue.push(target);
  }
  const sources = files.get('binding.gyp') ?? '';
  queue.push(...[...files.keys()].filter((path) => isNative(path) && sources.includes(`"${path}"`)));
  for (let path = queue.pop(); path !== undefined; path = queue.pop()) {
    if (reached.has(path) || !files.has(path)) continue;
    reached.add(path);
    for (const [, name] of files.get(path)!.matchAll(/^\s*#\s*include\s+"([^"]+)"/gm)) {
      queue.push(posix.normalize(posix.join(posix.dirname(path), name!)));
    }
  }
  for (const path of files.keys()) {
    if ((isSource(path) || isNative(path)) && !reached.has(path)) found.push(`${path}: nothing reaches it`);
  }
  return found;
}

export function checkDefaultExports(files: Files): string[] {
  return [...parseAll(files)]
    .filter(([, file]) => file.hasDefaultExport)
    .map(([path]) => `${path}: default export`);
}

/** Every part can be entered: by its index.ts, its main.ts, or a program of package.json. */
export function checkPartEntries(files: Files): string[] {
  const parts = new Set([...files.keys()].filter(isSource).map(partOf));
  const programs = entries(files);
  return [...parts]
    .filter((part) => {
      const hasDoor = files.has(`src/${part}/index.ts`) || files.has(`src/${part}/main.ts`);
      return !hasDoor && !OPEN_PARTS.includes(part) && !programs.some((path) => partOf(path) === part);
    })
    .map((part) => `src/${part}: neither index.ts nor main.ts`);
}
