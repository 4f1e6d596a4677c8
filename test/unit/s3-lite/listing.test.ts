import { expect, test } from 'vitest';
import type { CatalogClient } from '../../../src/client/index.js';
import { listKeys } from '../../../src/s3-lite/listing.js';

test.each([
  ['prefixes', 20, 500],
  ['plain keys', 2000, 1],
])('a listing of %s reads little more than it tells', async (_kind, directories, each) => {
  const keys: string[] = [];
  for (let d = 0; d < directories; d++) {
    const name = `key/bucket/d${String(d).padStart(4, '0')}`;
    for (let i = 0; i < each; i++) keys.push(each === 1 ? name : `${name}/${String(i).padStart(4, '0')}`);
  }
  let read = 0;
  let calls = 0;
  const range = async (from: string, to: string, limit: number) => {
    const found = keys.filter((key) => key >= from && key < to);
    const rows = found.slice(0, limit).map((key) => ({ key, value: {}, version: 1 }));
    read += rows.length;
    calls++;
    return { rows, more: found.length > limit };
  };
  const catalog = { range } as unknown as Pick<CatalogClient, 'range'>;
  const query = { prefix: '', delimiter: '/', after: '', limit: 1000 };
  const { entries, prefixes } = await listKeys(catalog, 'bucket', query, () => null);
  expect(entries.length + prefixes.length).toBe(each === 1 ? 1000 : directories);
  expect(read).toBeLessThan(2 * (entries.length + prefixes.length) + 10);
  expect(calls).toBeLessThan(each === 1 ? 15 : directories + 5);
});

test('a listing keeps of rows what it was asked to, and not the rows', async () => {
  const rows = ['a', 'b', 'c'].map((name, i) => ({
    key: `key/bucket/${name}`,
    value: { sizeBytes: i, extents: Buffer.alloc(1000) },
    version: 1,
  }));
  const range = async (from: string, to: string, limit: number) => {
    const found = rows.filter(({ key }) => key >= from && key < to);
    return { rows: found.slice(0, limit), more: found.length > limit };
  };
  const query = { prefix: '', delimiter: '', after: '', limit: 2 };
  const catalog = { range } as unknown as Pick<CatalogClient, 'range'>;
  const pick = ({ sizeBytes }: { sizeBytes: number }) => ({ sizeBytes });
  const { entries, truncated } = await listKeys(catalog, 'bucket', query, pick);
  expect(truncated).toBe(true);
  expect(entries).toEqual([
    { key: 'a', value: { sizeBytes: 0 } },
    { key: 'b', value: { sizeBytes: 1 } },
  ]);
});
