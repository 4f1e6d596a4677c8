import { afterAll, beforeAll, expect, it } from 'vitest';
import { ok } from './outcome.js';
import { UpCluster } from './programs.js';

/** Volumes that begin as a snapshot: `create --from` with the options of a new one. */

const MiB = 2 ** 20;
let up: UpCluster;
const json = async (...args: string[]) => JSON.parse(ok(await up.volume(...args, '--output', 'json')));
const names = async () => (await json('ls')).map((one: { name: string }) => one.name).sort();
const made = async (name: string, ...options: string[]) =>
  await json('create', name, '--from', 'golden@v1', ...options);

beforeAll(async () => {
  up = await UpCluster.start(['--osts', '2', '--volume', 'other:16M:1']);
  ok(await up.volume('create', 'golden', '--size', '64M', '--replicas', '1', '--on-degraded', 'error'));
  ok(await up.volume('snapshot', 'golden@v1'));
}, 120_000);

afterAll(() => up?.remove(), 60_000);

it('has the layout and the policy of that, but for what is asked for and can be', async () => {
  expect(await made('a')).toMatchObject({ replicas: 1, minReplicas: 1, onDegraded: 'error' });
  expect(await made('b', '--on-degraded', 'pause')).toMatchObject({ onDegraded: 'pause' });
  expect(await made('c', '--replicas', '1', '--stripe-width', '1')).toMatchObject({ replicas: 1 });
  for (const asked of [
    ['--replicas', '2'],
    ['--stripe-width', '2'],
    ['--chunk-size', '64M'],
    ['--min-replicas', '2'],
  ]) {
    const refused = await up.volume('create', 'd', '--from', 'golden@v1', ...asked);
    expect(refused, asked.join(' ')).toMatchObject({ code: 64 });
  }
  expect(await names()).toEqual(['a', 'b', 'c', 'golden', 'other']);
}, 60_000);

it('has the size that is asked for, or is not there', async () => {
  const before = await names();
  expect(await made('large', '--size', '80M')).toMatchObject({ name: 'large', sizeBytes: 80 * MiB });
  // The last one has too many chunks, as shows when it is done.
  ok(await up.volume('create', 'small', '--size', '64M', '--replicas', '1', '--chunk-size', '1M'));
  ok(await up.volume('snapshot', 'small@v1'));
  for (const [from, size] of [
    ['golden@v1', '103079215105'],
    ['golden@v1', '8000T'],
    ['small@v1', '4000T'],
  ]) {
    const refused = await up.volume('create', 'none', '--from', from!, '--size', size!);
    expect(refused, refused.stderr).toMatchObject({ code: 64 });
    const removed = 'removed the half-made volume none.rawstor-partial';
    expect(refused.stderr.includes(removed), size).toBe(from === 'small@v1');
  }
  const taken = await up.volume('create', 'large', '--from', 'golden@v1', '--size', '96M');
  expect(taken).toMatchObject({ code: 73 });
  expect(await names()).toEqual([...before, 'large', 'small'].sort());
}, 60_000);
