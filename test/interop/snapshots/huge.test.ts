import { readdirSync } from 'node:fs';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ok } from '../cli/outcome.js';
import { UpCluster } from '../cli/programs.js';

/** What is done to a volume of 16 TiB touches none of its chunks: a file appears with its first write, and no sooner. */

let up: UpCluster;
beforeAll(async () => {
  up = await UpCluster.start(['--osts', '3', '--no-volume']);
}, 120_000);
afterAll(() => up?.remove(), 60_000);

/** Of chunks of volumes, on all servers. */
async function chunkFiles(): Promise<string[]> {
  const volumes = JSON.parse(ok(await up.volume('ls', '--output', 'json'))) as { id: string }[];
  const all = readdirSync(up.facts.dir, { recursive: true }) as string[];
  const chunks = all.filter((path) => /\/chunks\/..\/[^/]+\/\d+\.\d+$/.test(path));
  return chunks.filter((path) => volumes.some(({ id }) => path.includes(id)));
}

const json = async (...args: string[]) => JSON.parse(ok(await up.volume(...args, '--output', 'json')));

describe('a volume of 16 TiB', () => {
  it.each([
    ['local', '1', '1G'],
    ['spread', 'all', '64M'],
  ])(
    '%s is made, snapshotted, cloned, resized and rolled back without a chunk',
    async (name, width, chunk) => {
      const layout = ['--size', '16T', '--replicas', '2', '--stripe-width', width, '--chunk-size', chunk];
      ok(await up.volume('create', name, ...layout));
      ok(await up.volume('snapshot', `${name}@one`));
      ok(await up.volume('clone', `${name}@one`, `${name}-clone`));
      ok(await up.volume('snapshot', `${name}-clone@two`));
      ok(await up.volume('clone', `${name}-clone@two`, `${name}-third`));
      ok(await up.volume('resize', name, '20T'));
      ok(await up.volume('snapshot', 'rollback', `${name}@one`, '--force'));
      ok(await up.volume('resize', name, '12T', '--shrink', '--force'));
      expect((await json('info', `${name}-third`)).sizeBytes).toBe(16 * 2 ** 40);
      expect(await json('du', name)).toMatchObject([{ allocatedBytes: 0 }]);
      expect(await chunkFiles()).toEqual([]);
    },
    120_000,
  );

  it('has one chunk on two servers once something is written, and its clone one more each', async () => {
    const write = (volume: string, at: string) =>
      execa('qemu-io', ['-f', 'raw', '-c', `write -P 1 ${at} 4k`, '-c', 'flush', up.uriOf(volume)]);
    await write('local', '11T');
    expect(await chunkFiles()).toHaveLength(2);
    ok(await up.volume('snapshot', 'local@three'));
    ok(await up.volume('clone', 'local@three', 'local-fourth'));
    expect(await chunkFiles()).toHaveLength(2);
    await write('local-fourth', '11T');
    expect(await chunkFiles()).toHaveLength(4);
  }, 120_000);
});
