import { expect, test } from 'vitest';
import { KiB, MiB } from '../../../src/common/units.js';
import type { KeptObject, ObjectRecord } from '../../../src/protocol/index.js';
import {
  failure,
  OstProcess,
  objectRecord,
  openIo,
  start,
  temporaryDirectory,
  testId,
  Writer,
} from './support.js';

/** What an OST keeps for a rebuild of the metadata (docs/consistency, I13). */

async function all(asker: Writer): Promise<{ objects: KeptObject[]; pages: number }> {
  const objects: KeptObject[] = [];
  let after: string | null = null;
  let pages = 0;
  do {
    const page = (await asker.call('ost.objects', { after })) as {
      objects: KeptObject[];
      next: string | null;
    };
    objects.push(...page.objects);
    after = page.next;
    pages++;
  } while (after !== null);
  return { objects, pages };
}

test('a record is durable when it is answered, and fences nobody', async () => {
  const io = openIo();
  const dir = temporaryDirectory();
  const record = objectRecord(1);
  const first = await OstProcess.start(dir);
  await (await Writer.connect(io, first.address)).call('ost.keepObject', { object: record });
  await first.kill('SIGKILL');
  const second = await OstProcess.start(dir);
  const asker = await Writer.connect(io, second.address);
  expect((await all(asker)).objects).toEqual([
    {
      id: record.id,
      removedWallMs: null,
      record,
      set: null,
      lastSeal: 0,
      lossWallMs: null,
      fence: null,
      regionEpoch: 0,
    },
  ]);
});

test('the newest record stays, beside a session that goes on', async () => {
  const io = openIo();
  const ost = await start(io, temporaryDirectory());
  const named = (name: string, epoch: number): ObjectRecord => objectRecord(1, { name, epoch });
  const writer = await Writer.attach(io, ost.addresses[0]!, named('b', 5), 5);
  await writer.call('ost.keepObject', { object: named('a', 4) });
  expect((await all(writer)).objects[0]!.record!.name).toBe('b');
  await writer.call('ost.keepObject', { object: named('c', 6) });
  expect((await all(writer)).objects[0]!.record!.name).toBe('c');
  expect((await writer.write(0, 0, Buffer.alloc(4 * KiB, 1))).status).toBe('OK');
});

test('of a used object it tells set, loss, fence and the highest epoch of any region', async () => {
  const io = openIo();
  const ost = await start(io, temporaryDirectory());
  // 1025 regions: more pages than are read in one turn.
  const record = objectRecord(1, { sizeBytes: 2 ** 40, chunkSizeBytes: 2 ** 36 });
  const writer = await Writer.attach(io, ost.addresses[0]!, record, 7, 3);
  for (let page = 0; page < 70; page++) {
    const at = { chunk: page % 16, offset: 1024 * MiB * Math.floor(page / 16) };
    const tag = page === 35 ? 90 : 8 + page;
    expect((await writer.write(at.chunk, at.offset, Buffer.alloc(512, 1), { tag })).status).toBe('OK');
  }
  const set = { epoch: 9, members: [] };
  await writer.call('ost.storeSet', { handle: writer.handle, set, lastSeal: 6, lossWallMs: 1234 });
  const [kept] = (await all(writer)).objects;
  expect(kept).toMatchObject({
    set,
    lastSeal: 6,
    lossWallMs: 1234,
    fence: { sessionEpoch: 7, sessionNumber: 3 },
    regionEpoch: 90,
  });
});

test('a removed one is told as removed, and takes no record again', async () => {
  const io = openIo();
  const ost = await start(io, temporaryDirectory());
  const asker = await Writer.connect(io, ost.addresses[0]!);
  const record = objectRecord(1);
  await asker.call('ost.keepObject', { object: record });
  await asker.call('ost.deleteObject', { objectId: record.id });
  await failure('NOT_FOUND', asker.call('ost.keepObject', { object: record }));
  const { objects } = await all(asker);
  expect(objects).toMatchObject([{ id: record.id, record: null, removedWallMs: expect.any(Number) }]);
});

test('many and large ones come in pages, each once and in order', async () => {
  const io = openIo();
  const ost = await start(io, temporaryDirectory());
  const asker = await Writer.connect(io, ost.addresses[0]!);
  const wide = Array.from({ length: 1024 }, (_, i) => testId(0x1000 + i));
  const pool = wide.map((ostId) => ({ ostId, weight: 1, domain: 'd'.repeat(64) }));
  const objects = Array.from({ length: 1100 }, (_, i) =>
    i % 25 === 0
      ? objectRecord(i + 1, { map: { rule: 'hash', pool, nearDomain: '', exceptions: [] } })
      : objectRecord(i + 1),
  );
  for (let at = 0; at < objects.length; at += 100) {
    const some = objects.slice(at, at + 100);
    await Promise.all(some.map((object) => asker.call('ost.keepObject', { object })));
  }
  for (let i = 0; i < 1100; i += 7) await asker.call('ost.deleteObject', { objectId: testId(i + 1) });
  const found = await all(asker);
  expect(found.pages).toBeGreaterThan(2);
  expect(found.objects.map(({ id }) => id)).toEqual(objects.map(({ id }) => id));
  expect(found.objects.map(({ removedWallMs }) => removedWallMs !== null)).toEqual(
    objects.map((_, i) => i % 7 === 0),
  );
}, 120_000);
