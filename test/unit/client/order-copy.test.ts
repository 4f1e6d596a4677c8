import { expect, test } from 'vitest';
import type { Member } from '../../../src/client/member.js';
import { orderCopy } from '../../../src/client/recovery/copy.js';
import type { VolumeState } from '../../../src/client/volume-state.js';
import { RawstorError } from '../../../src/common/errors.js';
import { silentLogger } from '../../../src/common/log.js';

/** A target that has much to copy is no target that hangs. */

const DONE = { copiedBytes: 4096, zeroedBytes: 0, sourceStatus: 0 };
const WAITS = { copiedBytes: 0, zeroedBytes: 0, sourceStatus: 0, waits: true };
const ANSWER_MS = 5000;

function rig(answer: (calls: number) => object | RawstorError) {
  let nowMs = 0;
  const waited: (number | undefined)[] = [];
  const timeouts: number[] = [];
  const ended: boolean[] = [];
  const peer = {
    call: async (_method: string, { waitedMs }: { waitedMs?: number }, timeoutMs: number) => {
      waited.push(waitedMs);
      timeouts.push(timeoutMs);
      nowMs += ANSWER_MS;
      const given = answer(waited.length);
      if (given instanceof RawstorError) throw given;
      return given;
    },
  };
  const place = { ostId: 'x', headVersion: 1, addresses: [], bootId: { kernel: 'k', generation: 1 } };
  const target = { ...place, peer, handle: 7, inSync: true, dirty: false, copiedBytes: 0 };
  const member = Object.assign(target, { end: (inSync: boolean) => ended.push(inSync) });
  const env = { log: silentLogger, clock: { nowMs: () => nowMs } };
  const state = { env, fatal: null as RawstorError | null };
  const copy = () =>
    orderCopy(
      state as unknown as VolumeState,
      place as unknown as Member,
      member as unknown as Member,
      0,
      0,
      4096,
    );
  return { copy, target: member, state, waited, timeouts, ended };
}

test('the time in its queue does not count', async () => {
  const { copy, target, waited, timeouts, ended } = rig((calls) => (calls < 100 ? WAITS : DONE));
  expect(await copy()).toBe('copied');
  expect(target.copiedBytes).toBe(4096);
  expect(ended).toEqual([]);
  expect(waited.slice(0, 3)).toEqual([0, ANSWER_MS, 2 * ANSWER_MS]);
  // Each time anew: more than it may wait for an answer of its queue, and the copy itself.
  expect(new Set(timeouts).size).toBe(1);
  expect(timeouts[0]).toBeGreaterThanOrEqual(20_000 + ANSWER_MS);
});

test('a copy that hangs, also after its time in the queue, ends the target', async () => {
  for (const inQueue of [0, 3]) {
    const hangs = new RawstorError('TIMEOUT', 'no answer');
    const { copy, ended } = rig((calls) => (calls <= inQueue ? WAITS : hangs));
    expect(await copy()).toBe('target');
    expect(ended).toEqual([true]);
  }
});

test('a session that has been replaced meanwhile is left alone', async () => {
  const made = rig(() => {
    made.target.handle = 8;
    return WAITS;
  });
  expect(await made.copy()).toBe('target');
  expect(made.ended).toEqual([]);
});

test('a volume that has failed asks no more', async () => {
  const made = rig((calls) => {
    if (calls === 2) made.state.fatal = new RawstorError('FENCED', 'another writer');
    return WAITS;
  });
  expect(await made.copy()).toBe('target');
  expect(made.waited.length).toBe(2);
});

test('why a target could not take it is kept', async () => {
  const full = new RawstorError('NO_SPACE', 'no space left');
  const { copy, target } = rig(() => full);
  expect(await copy()).toBe('target');
  expect(target).toMatchObject({ copyFailure: full });
});
