import { expect, test } from 'vitest';
import type { CatalogClient } from '../../../src/client/index.js';
import { listKeys } from '../../../src/s3-lite/listing.js';

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
