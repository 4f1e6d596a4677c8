import { beforeEach, describe, expect, test } from 'vitest';
import { MemoryStore, parseDump, withoutSecrets } from '../../../src/mds/index.js';
import { fillStore } from '../../../src/mds/rebuild/write.js';
import { encodeBody, firstRevision, lifeOf } from '../../../src/protocol/index.js';
import { dumpText } from './dump-text.js';
import { createSpec, ostInfo, Rig, testId } from './support.js';

/** Rows of facades, and how an MDS that was made anew comes to know them again. */

let rig: Rig;
beforeEach(async () => {
  rig = await Rig.start(2);
});

const value = (text: string) => encodeBody(text);
const put = (key: string, text: string, version?: number) =>
  rig.mds.catalog.transact({
    checks: version === undefined ? [] : [{ key, version }],
    puts: [{ key, value: value(text) }],
    deletes: [],
  });
const keys = async (dumped = false) => {
  const { entries } = await rig.mds.catalog.range({ from: ' ', to: '~', limit: 100, dumped });
  return entries.map(({ key }) => key);
};

/** An MDS on what a load of this one's dump makes. */
async function loaded(change: (lines: readonly string[]) => readonly string[] = (lines) => lines) {
  const { lines } = await rig.mds.dump({ after: '' });
  const dump = parseDump(Buffer.from(dumpText(testId(0xc1), change(lines), 1)), 'dump');
  const store = new MemoryStore();
  const none = { findings: [], renamed: new Map(), missing: [], unreferred: [], tombstones: [] };
  await fillStore(store, { ...dump, ...none, lostCatalog: dump.catalog }, 1);
  rig = await Rig.start(0, store);
  return dump.catalog!;
}

describe('a catalog that is lost', () => {
  const recovery = () => rig.mds.catalog.recovery;

  test('is neither told nor changed, and nothing is removed before it is recovered, nor immutable data before that is confirmed', async () => {
    for (const number of [1, 2]) await rig.mds.registerOst(ostInfo(number), rig);
    await rig.mds.createObject(createSpec({ name: 's3.pack.1', mode: 'immutable' }));
    await rig.mds.createObject(createSpec({ name: 'volume' }));
    await put('bucket/a', 'a');
    await loaded();
    const remove = (ref: string) => rig.mds.remove({ ref, force: true });
    await expect(put('bucket/b', 'b')).rejects.toMatchObject({ code: 'UNAVAILABLE' });
    await expect(keys()).rejects.toMatchObject({ code: 'UNAVAILABLE' });
    await expect(rig.mds.catalog.get({ keys: ['bucket/a'] })).rejects.toMatchObject({ code: 'UNAVAILABLE' });
    await expect(recovery().confirm()).rejects.toMatchObject({ code: 'UNAVAILABLE' });
    for (const ref of ['volume', 's3.pack.1'])
      await expect(remove(ref)).rejects.toMatchObject({ code: 'BUSY' });
    const { token } = await recovery().begin();
    await recovery().put({ token, puts: [{ key: 'bucket/a', value: value('a') }] });
    await recovery().end({ token, above: firstRevision(7) });
    expect(await keys()).toEqual(['bucket/a']);
    await expect(remove('s3.pack.1')).rejects.toMatchObject({ code: 'BUSY' });
    await remove('volume');
    await recovery().confirm();
    await remove('s3.pack.1');
  });

  test('revisions rise over it, and a version of before is no version of now', async () => {
    const { version: before } = await put('bucket/a', 'a');
    await loaded();
    const { token } = await recovery().begin();
    await recovery().put({ token, puts: [{ key: 'bucket/a', value: value('a') }] });
    await recovery().end({ token, above: before });
    expect((await put('bucket/a', 'b', before)).failed).toBe('bucket/a');
    const { entries } = await rig.mds.catalog.get({ keys: ['bucket/a'] });
    expect(entries[0]!.version).toBeGreaterThan(before);
    const { version } = await put('bucket/a', 'b', entries[0]!.version);
    expect(lifeOf(version)).toBe(lifeOf(before) + 1);
    const { revision } = await recovery().tell({ mark: true });
    expect(revision).toBeGreaterThan(version);
    expect((await put('bucket/c', 'c')).version).toBeGreaterThan(revision!);
  });

  test('one recovery at a time; one that was overtaken changes nothing', async () => {
    await put('bucket/a', 'a');
    await loaded();
    const first = await recovery().begin();
    await expect(recovery().begin()).rejects.toMatchObject({ code: 'BUSY' });
    await recovery().put({ token: first.token, puts: [{ key: 'bucket/x', value: value('x') }] });
    rig.clock.advance(15_000);
    await recovery().put({ token: first.token, puts: [] });
    rig.clock.advance(15_000);
    await expect(recovery().begin()).rejects.toMatchObject({ code: 'BUSY' });
    rig.clock.advance(30_000);
    const second = await recovery().begin();
    const puts = [{ key: 'bucket/late', value: value('late') }];
    await expect(recovery().put({ token: first.token, puts })).rejects.toMatchObject({ code: 'CONFLICT' });
    await recovery().end({ token: second.token, above: 0 });
    expect(await keys()).toEqual([]);
    await expect(recovery().put({ token: second.token, puts })).rejects.toMatchObject({ code: 'CONFLICT' });
    await expect(recovery().begin()).rejects.toMatchObject({ code: 'CONFLICT' });
  });

  test('a dump brings rows with their revisions, and is without secrets where that is asked', async () => {
    const { version } = await put('access/RSX', 'secret');
    await put('key/a/b', 'row');
    await put('ref/x', 'derived').catch(() => {});
    await put('journal/x', 'derived');
    const whole = await loaded();
    expect(await keys(true)).toEqual(['access/RSX', 'key/a/b']);
    const { entries } = await rig.mds.catalog.range({ from: ' ', to: '~', limit: 1, dumped: true });
    expect(entries).toEqual([{ key: 'access/RSX', version, value: Uint8Array.from(value('secret')) }]);
    expect(whole.revision).toBeGreaterThan(version);
    expect(await recovery().tell({ mark: false })).toMatchObject({ dumpedRevision: whole.revision });
  });

  test('a dump without secrets claims nothing of what it lacks', async () => {
    await put('access/RSX', 'secret');
    await put('key/a/b', 'row');
    expect(await loaded(withoutSecrets)).toMatchObject({ revision: 0 });
    expect(await keys(true)).toEqual(['key/a/b']);
  });
});
