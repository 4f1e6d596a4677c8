import { expect, test } from 'vitest';
import { CopyThrottle } from '../../../src/client/recovery/throttle.js';
import { KiB, MiB } from '../../../src/common/units.js';
import { ManualClock } from '../mds/support.js';

/** The bound of `--rate`, in time that a test lets pass. */

const RATE = 8 * MiB;
const REGION = 4 * MiB;

/** Copies regions as a resync does, several at once; of each `bytesOf` are data, the rest holes. */
function copying(clock: ManualClock, throttle: CopyThrottle, bytesOf: (region: number) => number) {
  const done = { bytes: 0, regions: 0, at: [] as { ms: number; bytes: number }[] };
  let next = 0;
  const worker = async () => {
    for (;;) {
      const region = next++;
      await throttle.turn(REGION);
      await clock.sleep(5);
      const bytes = bytesOf(region);
      throttle.spend(bytes);
      throttle.release(REGION);
      done.bytes += bytes;
      done.regions++;
      done.at.push({ ms: clock.nowMs(), bytes });
    }
  };
  return { done, worker };
}

const reactions = () => new Promise((resolve) => setImmediate(resolve));

async function pass(clock: ManualClock, ms: number): Promise<void> {
  for (let at = 0; at < ms; at += 5) {
    clock.advance(5);
    await reactions();
  }
}

for (const [what, bytesOf] of [
  ['full regions', () => REGION],
  ['regions with holes', (region: number) => (region % 3) * MiB + 64 * KiB],
] as const) {
  test(`volumes that are copied at once keep to the rate together: ${what}`, async () => {
    const clock = new ManualClock();
    const throttle = new CopyThrottle(clock, RATE);
    const { done, worker } = copying(clock, throttle, bytesOf);
    const startMs = clock.nowMs();
    for (let i = 0; i < 8; i++) worker();
    const seconds = 20;
    await pass(clock, seconds * 1000);
    expect(done.bytes).toBeLessThanOrEqual(RATE * seconds * 1.2);
    // The rate is made use of, too.
    expect(done.bytes).toBeGreaterThan(RATE * seconds * 0.8);
    // And not in bursts: from any moment on, never more than the rate and the copies under way.
    for (let from = startMs; from < clock.nowMs(); from += 500) {
      const within = done.at.filter(({ ms }) => ms >= from && ms < from + 2000);
      const bytes = within.reduce((sum, copy) => sum + copy.bytes, 0);
      expect(bytes).toBeLessThanOrEqual(RATE * 2 + REGION);
    }
  });
}

test('holes cost nothing: regions without data do not wait for each other', async () => {
  const clock = new ManualClock();
  const throttle = new CopyThrottle(clock, MiB);
  const { done, worker } = copying(clock, throttle, () => 0);
  for (let i = 0; i < 4; i++) worker();
  await pass(clock, 1000);
  expect(done.regions).toBeGreaterThan(150);
});

test('what was idle before is no credit', async () => {
  const clock = new ManualClock();
  const throttle = new CopyThrottle(clock, RATE);
  await pass(clock, 60_000);
  const { done, worker } = copying(clock, throttle, () => REGION);
  for (let i = 0; i < 8; i++) worker();
  await pass(clock, 1000);
  expect(done.bytes).toBeLessThanOrEqual(RATE + REGION);
});
