import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { ok } from './outcome.js';
import { ownLoopback, UpCluster } from './programs.js';

/** What is named where something else is wanted: said as such, with the exit code for it. */

let up: UpCluster;
const path = (name: string) => join(up.cwd, name);
const snapshots = async () =>
  JSON.parse(ok(await up.volume('snapshot', 'ls', 'copy', '--output', 'json'))).map(
    (one: { name: string }) => one.name,
  );
const write = (pattern: number) =>
  execa('qemu-io', ['-f', 'raw', '-c', `write -P ${pattern} 0 1M`, '-c', 'flush', up.uriOf('vm1')]);

beforeAll(async () => {
  up = await UpCluster.start(['--osts', '1', '--volume', 'vm1:16M:1']);
  ok(await up.volume('snapshot', 'vm1@a'));
  ok(await up.volume('export', 'vm1@a', path('a.raw')));
  ok(await up.volume('import', path('a.raw'), 'copy', '--replicas', '1'));
  ok(await up.volume('snapshot', 'copy@a'));
  for (const [since, now, pattern] of [
    ['a', 'b', 1],
    ['b', 'c', 2],
  ] as const) {
    await write(pattern);
    ok(await up.volume('snapshot', `vm1@${now}`));
    ok(await up.volume('export', `vm1@${now}`, '--since', since, path(`${now}.diff`)));
  }
}, 120_000);
afterAll(() => up?.remove(), 60_000);

it('a difference is not taken for an image', async () => {
  for (const outcome of [
    await up.volume('import', path('b.diff'), 'rubbish', '--replicas', '1'),
    await up.shell('$VOLUME import - rubbish --replicas 1 < b.diff'),
  ]) {
    expect(outcome, outcome.stderr).toMatchObject({ code: 64 });
    expect(outcome.stderr).toContain('add --apply');
  }
  expect((await up.volume('info', 'rubbish')).code).toBe(66);
}, 60_000);

it('a difference over a volume that was rolled back says how to go on', async () => {
  ok(await up.volume('import', '--apply', path('b.diff'), 'copy'));
  const again = await up.volume('import', '--apply', path('b.diff'), 'copy');
  expect(again).toMatchObject({ code: 73 });
  expect(again.stderr).toContain('applied already');
  ok(await up.volume('snapshot', 'rollback', 'copy@a', '--force', '--no-safety'));
  const rolled = await up.volume('import', '--apply', path('b.diff'), 'copy');
  expect(rolled).toMatchObject({ code: 73 });
  expect(rolled.stderr).toContain('rolled back since');
  expect(rolled.stderr).toContain('snapshot rollback copy@b');
  const next = await up.volume('import', '--apply', path('c.diff'), 'copy');
  expect(next).toMatchObject({ code: 75 });
  expect(next.stderr).toContain('snapshot rollback copy@b');
  ok(await up.volume('snapshot', 'rollback', 'copy@b', '--force', '--no-safety'));
  ok(await up.volume('import', '--apply', path('c.diff'), 'copy'));
  expect(await snapshots()).toEqual(['a', 'b', 'c']);
}, 120_000);

it.each([
  ['nbd://127.0.0.1:1/x', 69],
  ['nbd+unix:///x?socket=/nowhere/nbd.sock', 69],
  ['nbd://no.such.host.invalid/x', 69],
])('import of %s ends with %i', async (uri, code) => {
  const refused = await up.volume('import', uri, 'none');
  expect(refused, refused.stderr).toMatchObject({ code });
});

it('import of an NBD export that is not there ends with 66', async () => {
  const refused = await up.volume('import', up.uriOf('nothing'), 'none');
  expect(refused, refused.stderr).toMatchObject({ code: 66 });
});

it('-c takes the directory of a cluster, and --dir no file', async () => {
  ok(await up.volume('ls', '-c', up.facts.dir));
  mkdirSync(path('empty'));
  expect(await up.volume('ls', '-c', path('empty'))).toMatchObject({ code: 66 });
  writeFileSync(path('file'), '');
  for (const role of ['mgs', 'ost']) {
    const mds = role === 'ost' ? ['--mds', up.facts.mds] : [];
    const refused = await up.rawstor(
      'serve',
      role,
      '--dir',
      path('file'),
      '--listen',
      `${ownLoopback()}:0`,
      ...mds,
    );
    expect(refused, refused.stderr).toMatchObject({ code: 64 });
    expect(refused.stderr).toContain('a directory is wanted');
  }
  const up2 = await up.rawstor('up', '--dir', path('file'), '--listen', ownLoopback());
  expect(up2, up2.stderr).toMatchObject({ code: 64 });
}, 60_000);

it('a key of S3 whose file cannot be written is not made', async () => {
  const refused = await up.rawstor('s3', 'key', 'create', 'me', '--save', path('none/env'));
  expect(refused, refused.stderr).toMatchObject({ code: 66 });
  expect(ok(await up.rawstor('s3', 'key', 'ls'))).not.toMatch(/\bme\b/);
  expect(readdirSync(up.cwd)).not.toContain('none');
}, 60_000);
