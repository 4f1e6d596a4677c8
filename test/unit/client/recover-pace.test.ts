import { expect, test } from 'vitest';
import type { Opener } from '../../../src/client/giving-way.js';
import { recoverVolume } from '../../../src/client/recovery/recover.js';
import { ManualClock } from '../mds/support.js';

/** Whether a recovery goes on, seen from who waits for it. */

const reactions = () => new Promise((resolve) => setImmediate(resolve));

async function outcomeOf(throttled: boolean, closedClean = true): Promise<string> {
  const clock = new ManualClock();
  const status = () => ({
    epoch: 1,
    unreconciledRegions: 0,
    members: [{ state: 'resyncing', regionsDone: 1, copiedBytes: 0 }],
    throttled,
    recovered: clock.nowMs() > 64_000,
  });
  const volume = { status, close: async () => {}, closedClean, onFatal: null };
  const opener = { openVolume: async () => volume } as unknown as Opener;
  let outcome = '';
  recoverVolume(opener, 'v', { clock }).then((done) => {
    outcome = done;
  });
  for (let i = 0; i < 1400 && outcome === ''; i++) {
    await reactions();
    clock.advance(50);
  }
  return outcome;
}

test('who waits for the rate that copies may have is not taken for one that waits for an OST', async () => {
  expect(await outcomeOf(true)).toBe('recovered');
  expect(await outcomeOf(false)).toBe('waiting');
});

test('a recovery whose clean close is not on record has something left to do', async () => {
  expect(await outcomeOf(true, false)).toBe('waiting');
});
