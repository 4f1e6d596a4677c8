import { describe, expect, it } from 'vitest';
import { openIo, temporaryDirectory } from './support.js';
import { VersionHistory } from './version-history.js';

const LONG = process.env.RAWSTOR_TEST_LONG === '1';

describe('versions of a chunk', () => {
  it('read as a simple model over random histories of snapshots, clones, rollbacks and removals', async () => {
    const seeds = Number(process.env.SEEDS ?? (LONG ? 2000 : 25));
    const first = Number(process.env.SEED ?? 1);
    for (let seed = first; seed < first + seeds; seed++) {
      const history = new VersionHistory(openIo(), temporaryDirectory(), seed);
      await history.run(120).catch((error) => {
        expect.fail(
          `seed ${seed}: ${String(error)}\n${history.log.slice(-Number(process.env.TAIL ?? 40)).join('\n')}`,
        );
      });
    }
  }, 3_600_000);
});
