import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import {
  checkDeadFiles,
  checkDefaultExports,
  checkImports,
  checkPartEntries,
  checkSizes,
  type Files,
  LINES_MAX,
  LONG_FILES,
} from './tidy-rules.js';

const ROOT = fileURLToPath(new URL('..', import.meta.url));

function repository(): Files {
  const paths = readdirSync(join(ROOT, 'src'), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(ROOT.length));
  return new Map(
    [...paths, 'package.json', 'binding.gyp'].map((path) => [path, readFileSync(join(ROOT, path), 'utf8')]),
  );
}

/** A small sound repository with some files changed or added. */
function planted(changes: Record<string, string>): Files {
  return new Map(
    Object.entries({
      'package.json': '{"bin": {"rawstor": "dist/cli/rawstor.js"}}',
      'binding.gyp': '{"targets": [{"sources": ["src/native/addon.cc"]}]}',
      'src/common/errors.ts': 'export const a = 1;\n',
      'src/native/addon.cc': '#include "util.h"\n',
      'src/native/util.h': '#pragma once\n',
      'src/native/index.ts': "import '../common/errors.js';\n",
      'src/io/types.ts': 'export interface Io {}\n',
      'src/io/index.ts': "export * from './types.js';\nexport * from './ring.js';\n",
      'src/io/ring.ts': "import '../native/index.js';\n",
      'src/client/index.ts': "import type { Io } from '../io/types.js';\nimport '../io/index.js';\n",
      'src/ost/index.ts': "import '../io/index.js';\n",
      'src/ost/main.ts': "import './index.js';\nimport { a } from '../common/errors.js';\n",
      'src/cli/rawstor.ts': "import '../client/index.js';\nawait import('./verb.js');\n",
      'src/cli/verb.ts': "new Worker(new URL('./worker.js', import.meta.url));\n",
      'src/cli/worker.ts': 'export const b = 1;\n',
      ...changes,
    }),
  );
}

describe('the source tree', () => {
  const files = repository();

  test('imports go downwards and through index.ts', () => {
    expect(checkImports(files)).toEqual([]);
  });

  test(`no file has more than ${LINES_MAX} lines`, () => {
    expect(checkSizes(files, LONG_FILES)).toEqual([]);
  });

  test('no file is dead', () => {
    expect(checkDeadFiles(files)).toEqual([]);
  });

  test('nothing is exported as default', () => {
    expect(checkDefaultExports(files)).toEqual([]);
  });

  test('every part can be entered', () => {
    expect(checkPartEntries(files)).toEqual([]);
  });
});

describe('the rules', () => {
  test('accept a sound tree', () => {
    const files = planted({});
    const all = [checkImports, checkSizes, checkDeadFiles, checkDefaultExports, checkPartEntries];
    expect(all.flatMap((check) => check(files))).toEqual([]);
  });

  test.each([
    [
      'an import upwards',
      'src/common/errors.ts',
      "import '../client/index.js';",
      'common may not use client',
    ],
    [
      'a type import upwards',
      'src/io/ring.ts',
      "import type { C } from '../client/index.js';",
      'io may not use client',
    ],
    ['an import() upwards', 'src/io/ring.ts', "await import('../client/index.js');", 'io may not use client'],
    [
      'an import type upwards',
      'src/io/ring.ts',
      "type C = import('../client/index.js').C;",
      'io may not use client',
    ],
    ['a re-export upwards', 'src/io/ring.ts', "export * from '../client/index.js';", 'io may not use client'],
    ['a server in the client', 'src/client/index.ts', "import '../ost/index.js';", 'client may not use ost'],
    ['the client in a server', 'src/ost/index.ts', "import '../client/index.js';", 'ost may not use client'],
    ['a server in a facade', 'src/vhost/main-loop.ts', "import '../ost/index.js';", 'vhost may not use ost'],
    ['the command line below', 'src/ost/index.ts', "import '../cli/index.js';", 'ost may not use cli'],
    [
      'a way past an index',
      'src/client/index.ts',
      "import '../io/ring.js';",
      'src/io/ring.ts past its index',
    ],
    [
      'a way past an index in main',
      'src/ost/main.ts',
      "import '../client/open.js';",
      'src/client/open.ts past',
    ],
    [
      'a nested main that assembles',
      'src/ost/x/main.ts',
      "import '../../client/index.js';",
      'ost may not use client',
    ],
    ['an import from outside', 'src/io/ring.ts', "import '../../test/x.js';", 'outside src/'],
    ['an unknown part', 'src/misc/index.ts', '', 'a part without a rule'],
  ])('find %s', (_, path, text, message) => {
    const found = checkImports(planted({ [path]: text }));
    expect(found).toHaveLength(1);
    expect(found[0]).toContain(`${path}: `);
    expect(found[0]).toContain(message);
  });

  test('let only main.ts of a part and the command line assemble', () => {
    const up = "import '../client/index.js';";
    expect(checkImports(planted({ 'src/ost/main.ts': up, 'src/cli/verb.ts': up }))).toEqual([]);
  });

  test.each(['src/io/ring.ts', 'src/native/addon.cc', 'src/native/util.h'])('find a long %s', (path) => {
    const atLimit = 'x;\n'.repeat(LINES_MAX);
    expect(checkSizes(planted({ [path]: atLimit }))).toEqual([]);
    expect(checkSizes(planted({ [path]: `${atLimit}x;` }))).toEqual([`${path}: 301 lines, more than 300`]);
  });

  test.each(['src/io/left-over.ts', 'src/native/left-over.cc', 'src/native/left-over.h'])(
    'find a dead %s',
    (path) => {
      expect(checkDeadFiles(planted({ [path]: '' }))).toEqual([`${path}: nothing reaches it`]);
    },
  );

  test('find a ring of dead files', () => {
    const files = planted({ 'src/io/a.ts': "import './b.js';", 'src/io/b.ts': "import './a.js';" });
    expect(checkDeadFiles(files)).toHaveLength(2);
  });

  test('find a program that is not there', () => {
    const found = checkDeadFiles(planted({ 'package.json': '{"bin": {"x": "dist/cli/x.js"}}' }));
    expect(found).toContain('package.json: its program src/cli/x.ts is not there');
  });

  test.each([
    'export default 1;',
    'const a = 1;\nexport { a as default };',
    'export default function f() {}',
  ])('find %s', (text) => {
    expect(checkDefaultExports(planted({ 'src/io/ring.ts': text }))).toEqual([
      'src/io/ring.ts: default export',
    ]);
  });

  test('find a part without a door', () => {
    expect(checkPartEntries(planted({ 'src/fuse/tree.ts': '' }))).toEqual([
      'src/fuse: neither index.ts nor main.ts',
    ]);
  });
});
