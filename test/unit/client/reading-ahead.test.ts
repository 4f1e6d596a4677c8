import { expect, test } from 'vitest';
import { readContent } from '../../../src/client/immutable/content-reader.js';
import type { OpenObjects } from '../../../src/client/immutable/open-objects.js';
import { Transfers } from '../../../src/client/immutable/transfers.js';
import { MiB } from '../../../src/common/units.js';
import type { Io } from '../../../src/io/index.js';

/** What readers hold that do not take what they asked for. */

const open = {
  hold: () => () => {},
  borrow: async () => ({ device: {}, release: () => {} }),
} as unknown as OpenObjects;
const extent = { objectId: 'o', version: 1, offset: 0, length: 20 * MiB };

class Counted extends Transfers {
  reads = 0;
  override read(): Promise<Buffer> {
    this.reads++;
    return Promise.resolve(Buffer.alloc(1));
  }
}

test('many readers that are slow read little ahead, and one after them reads to its end', async () => {
  const transfers = new Counted({} as Io);
  const readers = Array.from({ length: 200 }, () => readContent(open, transfers, [extent], 0, extent.length));
  for (const reader of readers) await reader.next();
  expect(transfers.reads).toBe(200);
  for (const reader of readers) await reader.next();
  expect(transfers.reads).toBeLessThanOrEqual(400 + 64);
  let pieces = 0;
  for await (const _ of readContent(open, transfers, [extent], 0, extent.length)) pieces++;
  expect(pieces).toBe(20);
  for (const reader of readers) await reader.return(undefined);
  // All of it is given back.
  for (let i = 0; i < 64; i++) expect(transfers.beginAhead()).toBe(true);
  expect(transfers.beginAhead()).toBe(false);
});
