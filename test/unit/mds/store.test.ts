import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type MetadataStore, prefixRange, STORE_LIMITS, type StoreEvent } from '../../../src/mds/store.js';
import { LmdbStore } from '../../../src/mds/store-lmdb.js';
import { MemoryStore } from '../../../src/mds/store-memory.js';
import { failure } from './support.js';

const bytes = (text: string) => Buffer.from(text);
const put = (key: string, text = 'v') => ({ key, value: bytes(text) });
const textOf = (entry: { value: Uint8Array } | null) =>
  entry === null ? null : Buffer.from(entry.value).toString();

describe.each(['memory', 'lmdb'])('the %s store', (kind) => {
  let directory: string;
  let store: MetadataStore;

  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'rawstor-store-'));
    store = kind === 'memory' ? new MemoryStore() : new LmdbStore(directory);
  });
  afterEach(async () => {
    await store.close();
    await rm(directory, { recursive: true });
  });

  test('gives back what was put', async () => {
    await store.transact({ checks: [], puts: [put('a/1', 'one'), put('a/2', '')] });
    expect(textOf(await store.get('a/1'))).toBe('one');
    expect(textOf(await store.get('a/2'))).toBe('');
    expect(await store.get('a')).toBeNull();
    expect(await store.get('a/11')).toBeNull();
  });

  test('ranges are in the order of bytes, from inclusive to exclusive, limited', async () => {
    const keys = ['b', 'a/10', 'a/2', 'a/1', 'a0', 'A', 'a/1 '];
    await store.transact({ checks: [], puts: keys.map((key) => put(key)) });
    const found = async (range: Parameters<MetadataStore['range']>[0]) =>
      (await store.range(range)).map((e) => e.key);
    expect(await found(prefixRange('a/'))).toEqual(['a/1', 'a/1 ', 'a/10', 'a/2']);
    expect(await found({ from: 'a/10', to: 'a/2' })).toEqual(['a/10']);
    expect(await found({ from: '', to: '~', limit: 2 })).toEqual(['A', 'a/1']);
    expect(await found(prefixRange('zz'))).toEqual([]);
  });

  test('no more is read than was asked for in bytes, and one in any case', async () => {
    await store.transact({ checks: [], puts: ['a', 'b', 'c', 'd'].map((key) => put(key, 'x'.repeat(100))) });
    const found = async (enoughBytes: number, limit?: number) => {
      const more = limit === undefined ? {} : { limit };
      return (await store.range({ from: '', to: '~', enoughBytes, ...more })).map((e) => e.key);
    };
    expect(await found(0)).toEqual(['a']);
    expect(await found(100)).toEqual(['a', 'b']);
    expect(await found(250, 2)).toEqual(['a', 'b']);
    expect(await found(250)).toEqual(['a', 'b', 'c']);
    expect(await found(400)).toEqual(['a', 'b', 'c', 'd']);
  });

  test('versions rise with every transaction and belong to the keys it put', async () => {
    const first = await store.transact({ checks: [], puts: [put('a'), put('b')] });
    const second = await store.transact({ checks: [], puts: [put('b')] });
    const [a, b] = [await store.get('a'), await store.get('b')];
    expect(first.committed && second.committed && second.version > first.version).toBe(true);
    expect(a!.version).toBe(first.committed ? first.version : 0);
    expect(b!.version).toBe(second.committed ? second.version : 0);
  });

  test('a failed check changes nothing, and names the key', async () => {
    await store.transact({ checks: [], puts: [put('a', 'old')] });
    const outcome = await store.transact({
      checks: [{ key: 'a', version: 99 }],
      puts: [put('a', 'new'), put('b')],
      deletes: [],
    });
    expect(outcome).toEqual({ committed: false, key: 'a' });
    expect(textOf(await store.get('a'))).toBe('old');
    expect(await store.get('b')).toBeNull();
  });

  test('version 0 checks that a key is not there, also after a deletion', async () => {
    const create = { checks: [{ key: 'a', version: 0 }], puts: [put('a')] };
    expect((await store.transact(create)).committed).toBe(true);
    expect((await store.transact(create)).committed).toBe(false);
    await store.transact({ checks: [], deletes: ['a', 'never-there'] });
    expect((await store.transact(create)).committed).toBe(true);
  });

  test('a key deleted and put again is not taken for the old one', async () => {
    await store.transact({ checks: [], puts: [put('a')] });
    const { version } = (await store.get('a'))!;
    await store.transact({ checks: [], deletes: ['a'] });
    await store.transact({ checks: [], puts: [put('a')] });
    expect((await store.transact({ checks: [{ key: 'a', version }], deletes: ['a'] })).committed).toBe(false);
  });

  test('of concurrent compare-and-swaps exactly one wins each version', async () => {
    await store.transact({ checks: [], puts: [put('n', '0')] });
    const raise = async () => {
      for (;;) {
        const { value, version } = (await store.get('n'))!;
        const next = String(Number(Buffer.from(value).toString()) + 1);
        const outcome = await store.transact({ checks: [{ key: 'n', version }], puts: [put('n', next)] });
        if (outcome.committed) return;
      }
    };
    await Promise.all(Array.from({ length: 20 }, raise));
    expect(textOf(await store.get('n'))).toBe('20');
  });

  test('watchers see committed changes of their prefix, in order, until they stop', async () => {
    const seen: string[] = [];
    const note = (events: readonly StoreEvent[]) =>
      void seen.push(
        events.map((e) => `${e.key}=${e.value === null ? '-' : textOf({ value: e.value })}`).join(),
      );
    const watch = store.watch('a/', note);
    await store.transact({ checks: [], puts: [put('a/1', 'x'), put('b/1'), put('a/2', 'y')] });
    await store.transact({ checks: [{ key: 'a/1', version: 0 }], puts: [put('a/1', 'z')] });
    await store.transact({ checks: [], deletes: ['a/1'] });
    await store.transact({ checks: [], puts: [put('b/2')] });
    watch.cancel();
    await store.transact({ checks: [], puts: [put('a/3')] });
    expect(seen).toEqual(['a/1=x,a/2=y', 'a/1=-']);
  });

  test('what is put is a copy', async () => {
    const value = bytes('before');
    await store.transact({ checks: [], puts: [{ key: 'a', value }] });
    value.write('AFTER!');
    expect(textOf(await store.get('a'))).toBe('before');
  });

  test('refuses keys and transactions beyond its limits', async () => {
    await failure('INVALID', store.transact({ checks: [], puts: [put('')] }));
    await failure('INVALID', store.transact({ checks: [], puts: [put('ä')] }));
    await failure(
      'INVALID',
      store.transact({ checks: [], puts: [put('x'.repeat(STORE_LIMITS.keyBytes + 1))] }),
    );
    await failure('INVALID', store.transact({ checks: [], puts: [put('a')], deletes: ['a'] }));
    const many = Array.from({ length: STORE_LIMITS.operations + 1 }, (_, i) => put(`k${i}`));
    await failure('LIMIT', store.transact({ checks: [], puts: many }));
    const large = { key: 'a', value: Buffer.alloc(STORE_LIMITS.valueBytes + 1) };
    await failure('LIMIT', store.transact({ checks: [], puts: [large] }));
    expect(await store.get('a')).toBeNull();
  });

  test('takes a key and a value at their limits', async () => {
    const key = 'x'.repeat(STORE_LIMITS.keyBytes);
    await store.transact({ checks: [], puts: [{ key, value: Buffer.alloc(STORE_LIMITS.valueBytes, 7) }] });
    const entry = await store.get(key);
    expect(entry!.value.length).toBe(STORE_LIMITS.valueBytes);
    expect(entry!.value.every((byte) => byte === 7)).toBe(true);
  });

  // What is kept in memory ends with it.
  if (kind === 'lmdb') {
    test('keeps everything over closing and opening', async () => {
      await store.transact({ checks: [], puts: [put('a', 'one')] });
      const before = await store.get('a');
      await store.close();
      store = new LmdbStore(directory);
      expect(await store.get('a')).toEqual(before);
      const next = await store.transact({ checks: [], puts: [put('b')] });
      expect(next.committed && next.version > before!.version).toBe(true);
    });
  }
});
