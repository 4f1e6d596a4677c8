import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { RecordType } from '../src/ost/record-codec.js';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const documents = ['README.md', ...readdirSync(join(ROOT, 'docs')).map((name) => `docs/${name}`)];
const read = (path: string) => readFileSync(join(ROOT, path), 'utf8');
const all = (text: string, pattern: RegExp) => Array.from(text.matchAll(pattern), (found) => found[1]!);
const folders = (path: string) =>
  readdirSync(join(ROOT, path), { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map((entry) => entry.name);

describe('documents', () => {
  test.each(documents)('%s names only files that are there', (path) => {
    const text = read(path);
    const links = all(text, /\]\(([^)#:]+)(?:#[^)]*)?\)/g).map((link) => join(dirname(path), link));
    const named = all(text, /`((?:src|test|docs|scripts|bench)\/[\w./-]*)`/g);
    expect([...links, ...named].filter((each) => !existsSync(join(ROOT, each)))).toEqual([]);
  });

  test('the index names every document', () => {
    const index = read('docs/README.md');
    const others = documents.filter((path) => path !== 'docs/README.md');
    expect(others.filter((path) => !index.includes(`](${path.replace(/^docs\//, '')})`))).toEqual([
      'README.md',
    ]);
    expect(index).toContain('](../README.md)');
  });

  test('the folder map has every part', () => {
    const map = read('docs/architecture.md');
    expect(folders('src').filter((name) => !map.includes(`\nsrc/${name}/ `))).toEqual([]);
  });

  test('documents named in the code are there', () => {
    const sources = readdirSync(join(ROOT, 'src'), { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile() && /\.(ts|cc|h)$/.test(entry.name))
      .map((entry) => join(entry.parentPath, entry.name).slice(ROOT.length));
    const missing = sources.flatMap((path) =>
      all(read(path), /\bdocs\/([\w-]+)/g)
        .filter((name) => !existsSync(join(ROOT, `docs/${name}.md`)))
        .map((name) => `${path}: docs/${name}.md`),
    );
    expect(missing).toEqual([]);
  });

  test('every case of S3 is a row of its table, and every row a case', () => {
    const source = (name: string) => read(`test/interop/s3/${name}.test.ts`);
    const cases = ['errors', 'operations', 'cors', 'raw', 'documents'].flatMap((name) =>
      Array.from(source(name).matchAll(/\[\s*'((?:[A-Z]|any)[^'\n]*)',\s*'([A-Za-z0-9]+)',\s/g), (found) =>
        found.slice(1, 3).join(' | '),
      ),
    );
    const text = read('docs/s3.md').split('## Operations and errors with their tests')[1]!;
    // Those that are asked for with `?` are compared by their own test.
    const rows = all(text, /^\| (.*) \|$/gm).filter((row) => !/^operation|\?/.test(row));
    expect(rows.sort()).toEqual([...new Set(cases)].sort());
    expect(all(text, /^\| (.*) \|$/gm).length).toBeGreaterThan(150);
  });

  test('every type of record of an OST is laid out', () => {
    const letters = new Set(all(read('docs/formats-ost.md'), /^\| `([A-Z])`(?: id[^|]*)? \|/gm));
    const types = Object.values(RecordType).map((type) => String.fromCharCode(type));
    expect([...letters].sort()).toEqual(types.sort());
  });

  test('every rule named in the code is explained', () => {
    const rules = new Set(all(read('docs/consistency.md'), /^\| (I\d+) \|/gm));
    const sources = readdirSync(join(ROOT, 'src/client'), { recursive: true, withFileTypes: true })
      .concat(readdirSync(join(ROOT, 'src/ost'), { withFileTypes: true }))
      .filter((entry) => entry.isFile());
    const named = sources.flatMap((entry) =>
      all(readFileSync(join(entry.parentPath, entry.name), 'utf8'), /\b(I\d{1,2})\b/g),
    );
    expect(named.length).toBeGreaterThan(20);
    expect([...new Set(named)].filter((rule) => !rules.has(rule))).toEqual([]);
  });
});
