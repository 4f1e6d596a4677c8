import { afterEach, expect, test } from 'vitest';
import { systemClock } from '../../../src/common/clock.js';
import { RawstorError } from '../../../src/common/errors.js';
import { CatalogRecovery } from '../../../src/mds/catalog-recovery.js';
import { CATALOG_PREFIX } from '../../../src/mds/catalog-rows.js';
import { dumpPage } from '../../../src/mds/dump.js';
import { MemoryStore, parseDump } from '../../../src/mds/index.js';
import { putLeft } from '../../../src/mds/left-copies.js';
import { fillStore } from '../../../src/mds/rebuild/write.js';
import type { MetadataStore } from '../../../src/mds/store.js';
import { crc32c, firstRevision } from '../../../src/protocol/index.js';
import { DUMP_METHODS } from '../../../src/protocol/kept-messages.js';
import { dumpText } from './dump-text.js';
import { createSpec, Rig, testId } from './support.js';

let rig: Rig;
afterEach(() => rig?.store.close());

async function lines(): Promise<{ lines: string[]; pages: number }> {
  const found: string[] = [];
  let after: string | null = '';
  let pages = 0;
  while (after !== null) {
    const page: { lines: string[]; next: string | null } = await rig.mds.dump({ after });
    found.push(...page.lines);
    after = page.next;
    pages++;
  }
  return { lines: found, pages };
}

const text = (whole: string) => Buffer.from(whole);
const bad = (bytes: Uint8Array): string => {
  try {
    parseDump(bytes, 'dump.jsonl');
  } catch (error) {
    if (!(error instanceof RawstorError)) throw error;
    expect(error.exitCode).toBe(65);
    expect(error.where).toBe('dump.jsonl');
    return error.message;
  }
  throw new Error('it was taken');
};

/** Ends as a whole dump does. */
function resealed(body: string): Buffer {
  const sum = crc32c(text(body), 0, Buffer.byteLength(body)).toString(16).padStart(8, '0');
  return text(`${body}${JSON.stringify({ type: 'end', lines: body.split('\n').length, crc32c: sum })}\n`);
}

test('a dump has every object, OST and removal', async () => {
  rig = await Rig.start(3);
  await rig.mds.createObject(createSpec({ name: 'a' }));
  await rig.mds.createObject(createSpec({ name: 'b' }));
  const gone = await rig.mds.createObject(createSpec({ name: 'c' }));
  await rig.openFor('someone', { ref: 'a' });
  await rig.mds.remove({ ref: 'c', force: false });
  const found = await lines();
  const dump = parseDump(text(dumpText(testId(0xc1), found.lines, 77)), 'x');
  expect(dump).toMatchObject({ clusterId: testId(0xc1), takenWallMs: 77 });
  expect(dump.osts.map(({ ostId }) => ostId)).toEqual([testId(1), testId(2), testId(3)]);
  expect(dump.objects.map(({ object }) => object.name).sort()).toEqual(['a', 'b']);
  for (const stored of dump.objects) {
    const {
      lease: _,
      sessionEpoch: __,
      lossWallMs,
      clean,
      wanted: ___,
      left: ____,
      recovery: _____,
      ...object
    } = await rig.mds.getObj({ ref: stored.object.id });
    expect(stored).toMatchObject({ object, lossWallMs, clean });
  }
  expect(dump.removed).toEqual([{ objectId: gone.id, ostIds: gone.map.pool.map(({ ostId }) => ostId) }]);
});

test('it has wanted moves, copies that are left behind and marks of OSTs', async () => {
  rig = await Rig.start(4);
  const { id, map } = await rig.mds.createObject(createSpec({ name: 'a' }));
  const from = map.pool[0]!.ostId;
  const { wanted } = await rig.mds.moves.move({ id, from, to: null, dryRun: false });
  await rig.mds.moves.setOst({ ostId: from, draining: true });
  await rig.store.transact({ checks: [], puts: [putLeft(from, testId(0x99), 3)] });
  const dump = parseDump(text(dumpText(testId(0xc1), (await lines()).lines, 0)), 'x');
  expect(dump.objects[0]!.wanted).toEqual(wanted);
  expect(dump.left).toMatchObject([{ ostId: from, objectId: testId(0x99), epoch: 3 }]);
  expect(dump.osts.filter(({ draining }) => draining).map(({ ostId }) => ostId)).toEqual([from]);
});

test('a large one comes in pages, each record once', async () => {
  rig = await Rig.start(700);
  for (let i = 0; i < 40; i++) {
    await rig.mds.createObject(createSpec({ name: `v${i}`, stripeWidth: 'all', failureDomain: 'ost' }));
  }
  const found = await lines();
  expect(found.pages).toBeGreaterThan(3);
  const dump = parseDump(text(dumpText(testId(0xc1), found.lines, 0)), 'x');
  expect(new Set(dump.objects.map(({ object }) => object.name)).size).toBe(40);
  expect(new Set(dump.osts.map(({ ostId }) => ostId)).size).toBe(700);
  expect(found.lines).toHaveLength(741);
});

test('an empty store gives an empty dump', async () => {
  const store = new MemoryStore();
  const state = JSON.stringify({ type: 'catalog', state: 'whole', revision: firstRevision(1) + 1 });
  expect(await dumpPage(store, new CatalogRecovery(store, systemClock), '')).toEqual({
    lines: [state],
    next: null,
  });
  expect(parseDump(text(dumpText(testId(1), [], 0)), 'x').objects).toEqual([]);
});

test('a disk that takes no write any more can be dumped, without the mark of a revision', async () => {
  const store = new MemoryStore();
  store.transact = async () => {
    throw new RawstorError('NO_SPACE', 'the metadata was not written');
  };
  const {
    lines: [first],
  } = await dumpPage(store, new CatalogRecovery(store, systemClock), '');
  expect(JSON.parse(first!)).toEqual({ type: 'catalog', state: 'whole', revision: 0 });
});

test('every cut and every changed byte is found', async () => {
  rig = await Rig.start(2);
  await rig.mds.createObject(createSpec({ name: 'a' }));
  const whole = text(dumpText(testId(0xc1), (await lines()).lines, 0));
  parseDump(whole, 'x');
  for (let end = 0; end < whole.length; end++) bad(whole.subarray(0, end));
  for (let at = 0; at < whole.length; at++) {
    const changed = Buffer.from(whole);
    changed[at]! ^= 1;
    bad(changed);
  }
});

test('what is wrong is said', async () => {
  rig = await Rig.start(2);
  const whole = dumpText(testId(0xc1), (await lines()).lines, 0);
  const body = whole.slice(0, whole.lastIndexOf('{"type":"end"'));
  expect(bad(text('hello\n'))).toMatch(/line 1 .* no JSON/);
  expect(bad(text('{"a":1}\n'))).toMatch(/no dump/);
  expect(bad(resealed(body.replace('"version":3', '"version":4')))).toMatch(/version 4/);
  expect(bad(text(body))).toMatch(/cut short/);
  expect(bad(text(whole.replace('host1', 'host9')))).toMatch(/damaged/);
  expect(bad(resealed(body.replace('"type":"ost"', '"type":"new"')))).toMatch(/line 3 .*malformed/);
  expect(bad(text(whole.replace('"lines":5', '"lines":6')))).toMatch(/5 lines, not 6/);
});

test('what is behind the longest keys can be asked for, and as many rows as there may be are loaded', async () => {
  const store = new MemoryStore();
  const row = (i: number) => `object/${'k'.repeat(1760)}${String(i).padStart(4, '0')}`;
  for (let i = 0; i < 300; i++) {
    await store.transact({ checks: [], puts: [{ key: CATALOG_PREFIX + row(i), value: Buffer.from('v') }] });
  }
  const catalog = new CatalogRecovery(store, systemClock);
  let rows = 0;
  for (let after: string | null = ''; after !== null; ) {
    DUMP_METHODS['mds.dump'].params.parse({ after });
    const page: { lines: string[]; next: string | null } = await dumpPage(store, catalog, after);
    rows += page.lines.filter((line) => line.includes('"row"')).length;
    after = page.next;
  }
  expect(rows).toBe(300);
  const many = Array.from({ length: 200_000 }, (_, i) => ({
    key: `object/${i}`,
    version: 1,
    value: Buffer.of(1),
  }));
  const plan = {
    ...{ clusterId: testId(0xc1), findings: [], renamed: new Map(), missing: [], unreferred: [], osts: [] },
    ...{ objects: [], tombstones: [], left: [], lostCatalog: { revision: 1, rows: many } },
  };
  let puts = 0;
  const counting = { transact: async (all: { puts: readonly unknown[] }) => void (puts += all.puts.length) };
  await fillStore(counting as unknown as MetadataStore, plan, 0);
  expect(puts).toBe(200_002);
});
