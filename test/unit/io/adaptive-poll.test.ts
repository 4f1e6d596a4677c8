import { describe, expect, test } from 'vitest';
import { AdaptivePoll } from '../../../src/io/adaptive-poll.js';
import { createIo } from '../../../src/io/index.js';
import { loadNative } from '../../../src/native/index.js';

/** A poll of at most 50 us whose waits end as told, and the waits it made. */
function pollOf(outcome: () => boolean) {
  const waits: number[] = [];
  const poll = new AdaptivePoll(50, (maxNs) => {
    waits.push(maxNs);
    return outcome();
  });
  const sleep = (us: number) => {
    poll.fallsAsleep(0);
    poll.wakes(us / 1000);
  };
  return { poll, waits, sleep };
}

describe('adaptive poll', () => {
  test('waits only after some short sleeps, and no longer than it may', () => {
    const { poll, waits, sleep } = pollOf(() => true);
    expect(poll.cameSoon()).toBe(false);
    for (let i = 0; i < 10; i++) sleep(50);
    for (let i = 0; i < 3; i++) sleep(49);
    expect(poll.cameSoon()).toBe(false);
    expect(waits).toEqual([]);
    sleep(49);
    expect(poll.cameSoon()).toBe(true);
    expect(waits).toEqual([50_000]);
  });

  test('goes on while it is worth it and through a short lull', () => {
    let comes = true;
    const { poll, waits, sleep } = pollOf(() => comes);
    for (let i = 0; i < 4; i++) sleep(10);
    for (let i = 0; i < 1000; i++) expect(poll.cameSoon()).toBe(true);
    comes = false;
    for (let i = 0; i < 3; i++) expect(poll.cameSoon()).toBe(false);
    comes = true;
    expect(poll.cameSoon()).toBe(true);
    expect(waits.length).toBe(1004);
  });

  test('stops soon when nothing comes, however much came before', () => {
    let comes = true;
    const { poll, waits, sleep } = pollOf(() => comes);
    for (let i = 0; i < 4; i++) sleep(10);
    for (let i = 0; i < 1000; i++) poll.cameSoon();
    comes = false;
    const before = waits.length;
    for (let i = 0; i < 1000; i++) poll.cameSoon();
    expect(waits.length - before).toBeLessThanOrEqual(10);
  });

  test('stops when half of the waits are in vain', () => {
    let turn = 0;
    const { poll, waits, sleep } = pollOf(() => turn++ % 2 === 0);
    for (let i = 0; i < 100; i++) sleep(10);
    for (let i = 0; i < 1000; i++) poll.cameSoon();
    expect(waits.length).toBeLessThan(50);
  });

  test('does not wait where every third sleep is long', () => {
    const { poll, waits, sleep } = pollOf(() => false);
    for (let i = 0; i < 1000; i++) {
      poll.cameSoon();
      sleep(i % 3 === 2 ? 200 : 10);
    }
    expect(waits).toEqual([]);
  });

  test('a maximum of 0 never waits', () => {
    const waits: number[] = [];
    const poll = new AdaptivePoll(0, (maxNs) => waits.push(maxNs) > 0);
    for (let i = 0; i < 100; i++) {
      poll.fallsAsleep(0);
      poll.wakes(0);
      expect(poll.cameSoon()).toBe(false);
    }
    expect(waits).toEqual([]);
  });
});

test('the wait of a ring ends by itself, and at once where something has completed', () => {
  const native = loadNative();
  const ring = native.ringCreate(8, 16);
  if (typeof ring === 'number') throw new Error(`io_uring is refused here: ${ring}`);
  try {
    expect(native.ringPoll(ring.handle, 1000)).toBe(false);
    const words = new Int32Array(ring.rings);
    // A NOP: opcode 0 and no more.
    words[ring.sqTailAt >>> 2] = 1;
    expect(native.ringEnter(ring.enterFd, 1, 1, 1 | ring.enterFlags)).toBe(1);
    expect(native.ringPoll(ring.handle, 60_000_000_000)).toBe(true);
  } finally {
    native.ringClose(ring.handle, ring.rings, ring.sqes);
  }
});

test.each(['-1', '2000', 'x'])('RAWSTOR_POLL_US=%s is refused', (value) => {
  process.env.RAWSTOR_POLL_US = value;
  try {
    // Also where io_uring is not insisted on.
    for (const options of [{ kind: 'uring' }, { kind: 'node' }, {}] as const)
      expect(() => createIo(options)).toThrow(`RAWSTOR_POLL_US is '${value}'`);
  } finally {
    delete process.env.RAWSTOR_POLL_US;
  }
});
