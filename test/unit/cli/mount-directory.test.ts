import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { checkMountDirectory } from '../../../src/cli/mount/directory.js';
import { runProgram } from '../../../src/cli/program.js';
import { RAWSTOR } from '../../../src/cli/programs.js';

it.each([
  ['/', null],
  ['/', '/home/a/.rawstor/cluster.toml'],
  ['/home', '/home/a/.rawstor/cluster.toml'],
  ['/home/a', '/home/a/.rawstor/cluster.toml'],
  ['/home/a/.rawstor', '/home/a/.rawstor/cluster.toml'],
])('%s is no place for a mount where the cluster is %s', (directory, file) => {
  expect(() => checkMountDirectory(directory, file)).toThrow(expect.objectContaining({ code: 'USAGE' }));
});

it.each([
  ['/mnt', null],
  ['/mnt', '/home/a/.rawstor/cluster.toml'],
  ['/home/a/mnt', '/home/a/.rawstor/cluster.toml'],
  ['/home/ab', '/home/a/.rawstor/cluster.toml'],
])('%s is one where the cluster is %s', (directory, file) => {
  expect(() => checkMountDirectory(directory, file)).not.toThrow();
});

it('the verb refuses them before it does anything', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'rawstor-mount-'));
  try {
    mkdirSync(join(dir, 'place'));
    const file = join(dir, 'place/cluster.toml');
    writeFileSync(file, 'mds = ["127.0.0.1:1"]\n');
    for (const place of ['/', dir, join(dir, 'place')])
      expect(await runProgram(RAWSTOR, ['-c', file, 'mount', place, '--foreground'])).toBe(64);
    expect(readFileSync(file, 'utf8')).toContain('mds');
  } finally {
    rmSync(dir, { recursive: true });
  }
});
