import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { LmdbStore } from '../../../src/mds/store-lmdb.js';
import { openLmdbStore } from '../../../src/ost/store-lmdb.js';

/** lmdb-js throws from a timer of its own, which ends the process, when it is read while it closes. */

const directory = () => mkdtempSync(join(tmpdir(), 'rawstor-lmdb-'));
const closed = { code: 'UNAVAILABLE' };

test('the metadata is asked for nothing once it closes, and what was asked before is done', async () => {
  const store = new LmdbStore(directory());
  const put = store.transact({ checks: [], puts: [{ key: 'a', value: Buffer.from('1') }] });
  const closing = store.close();
  expect(await put).toMatchObject({ committed: true });
  await closing;
  await expect(store.get('a')).rejects.toMatchObject(closed);
  await expect(store.range({ from: 'a', to: 'b' })).rejects.toMatchObject(closed);
  await expect(store.transact({ checks: [] })).rejects.toMatchObject(closed);
});

test('nor are the records of an OST', async () => {
  const store = await openLmdbStore(directory(), true);
  const put = store.commit([{ key: Buffer.from('a'), value: Buffer.from('1') }]);
  const closing = store.close();
  await put;
  // In the middle of it.
  await Promise.resolve();
  expect(() => store.get(Buffer.from('a'))).toThrow(expect.objectContaining(closed));
  await closing;
  expect(() => store.range(Buffer.from('a'), Buffer.from('b'), 1)).toThrow(expect.objectContaining(closed));
  await expect(store.commit([])).rejects.toMatchObject(closed);
});
