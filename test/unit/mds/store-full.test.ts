import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { LmdbStore } from '../../../src/mds/store-lmdb.js';
import { smallDisk } from '../../fixtures/small-disk.js';
import { failure } from './support.js';

const { path: disk, mounted } = smallDisk('size=2m');

// Only root may mount a small disk.
test.runIf(mounted)(
  'a full disk fails the transaction whole, and the store goes on when there is space',
  async () => {
    const directory = join(disk, 'store');
    mkdirSync(directory);
    const store = new LmdbStore(directory);
    const put = (key: string, sizeBytes: number) =>
      store.transact({ checks: [], puts: [{ key, value: Buffer.alloc(sizeBytes, 1) }] });
    await put('before', 100);
    const filler = join(disk, 'filler');
    expect(() => writeFileSync(filler, Buffer.alloc(8 * 1024 * 1024))).toThrow(/ENOSPC/);
    for (const key of ['one', 'two']) {
      const error = await failure('NO_SPACE', put(key, 200_000));
      expect(error.toUserText()).toMatch(/free space/);
      expect(await store.get(key)).toBeNull();
    }
    rmSync(filler);
    await put('after', 200_000);
    await store.close();
    const again = new LmdbStore(directory);
    expect((await again.range({ from: '', to: '~' })).map((e) => e.key)).toEqual(['after', 'before']);
    await again.close();
  },
);
