import { readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { smallDisk } from '../../fixtures/small-disk.js';
import { ok } from './outcome.js';
import { UpCluster } from './programs.js';

/** A file system that is too small for what is exported to it. */

const MiB = 1024 * 1024;
const small = smallDisk('size=2m');
let cluster: UpCluster;

beforeAll(async () => {
  cluster = await UpCluster.start(['--osts', '1', '--volume', 'vm1:16M:1']);
  ok(await cluster.volume('snapshot', 'vm1@a'));
  const image = join(cluster.cwd, 'image.raw');
  writeFileSync(image, Buffer.alloc(16 * MiB, 3));
  ok(await cluster.volume('import', image, 'vm1', '--force'));
  ok(await cluster.volume('snapshot', 'vm1@b'));
}, 120_000);

afterAll(() => cluster?.remove());

// Only root may mount a small disk.
it.runIf(small.mounted)(
  'a difference that does not fit is told of as such, and leaves nothing',
  async () => {
    const file = join(small.path, 'b.diff');
    const made = await cluster.volume('export', 'vm1@b', '--since', 'a', file);
    expect(made.code, made.stderr).toBe(73);
    expect(made.stderr).toMatch(/NO_SPACE/);
    expect(made.stderr).toContain(small.path);
    expect(readdirSync(small.path)).toEqual([]);
  },
  60_000,
);
