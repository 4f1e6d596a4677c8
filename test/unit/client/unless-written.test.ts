import { expect, test } from 'vitest';
import { unlessWritten } from '../../../src/client/unless-written.js';
import type { SignsEnvironment } from '../../../src/client/writer-signs.js';
import { RawstorError } from '../../../src/common/errors.js';
import type { ObjectInfo } from '../../../src/protocol/object-info.js';
import { ManualClock } from '../mds/support.js';
import { failure, objectRecord, testId } from '../ost/support.js';

/** What an OST says: that it has a writer, or not; null: it cannot be reached. */
type Sign = boolean | null;

/** A volume on some OSTs whose writer, of session 5, the MDS does not hear of. */
function left(signs: Sign[], lease: unknown = null) {
  const clock = new ManualClock();
  const members = signs.map((_, i) => ({ ostId: testId(0xa1 + i), state: 'in-sync' }));
  const object = {
    ...objectRecord(1),
    members,
    clean: false,
    lease,
    sessionEpoch: 5,
  } as unknown as ObjectInfo;
  const osts = members.map(({ ostId }) => ({ ostId, addresses: ['tcp://here:1'] }));
  const answers: Record<string, unknown> = { 'mds.getObj': object, 'mds.listOsts': { osts } };
  const mds = { call: async (method: string) => answers[method] } as never;
  const connector = {
    connect: async (ostId: string) => {
      const sign = signs[members.findIndex((one) => one.ostId === ostId)]!;
      if (sign === null) throw new RawstorError('UNAVAILABLE', 'no route');
      return { call: async () => ({ writer: sign }), destroy() {} };
    },
  };
  const sleep = async (ms: number) => clock.advance(ms);
  const env = {
    clock: { ...clock, nowMs: () => clock.nowMs(), sleep },
    connector,
  } as unknown as SignsEnvironment;
  const asked: (number | undefined)[] = [];
  const run = () =>
    unlessWritten(env, mds, 'v', async (unseen) => {
      asked.push(unseen);
      if (unseen !== 5) throw new RawstorError('BUSY', "'v' is open for writing by guest");
      return 'done';
    });
  return { run, asked, clock };
}

test('a writer that some OST sees keeps its volume', async () => {
  const { run, asked } = left([false, true]);
  expect((await failure('BUSY', run())).message).toContain('does not reach the metadata server');
  expect(asked).toEqual([undefined]);
});

test('one that no OST has seen for some seconds is gone', async () => {
  const { run, clock } = left([false, false]);
  const beganMs = clock.nowMs();
  expect(await run()).toBe('done');
  expect(clock.nowMs() - beganMs).toBeGreaterThan(3000);
});

test('where an OST cannot be asked that takes longer, and where none can, nothing is taken', async () => {
  const { run, clock } = left([false, null]);
  const beganMs = clock.nowMs();
  expect(await run()).toBe('done');
  expect(clock.nowMs() - beganMs).toBeGreaterThan(30_000);
  const alone = left([null, null]);
  await failure('UNAVAILABLE', alone.run());
  expect(alone.asked).toEqual([undefined]);
});

test('nobody is asked while the MDS hears of it', async () => {
  const { run, clock } = left([false], { holder: 'guest' });
  const beganMs = clock.nowMs();
  expect((await failure('BUSY', run())).message).not.toContain('metadata server');
  expect(clock.nowMs()).toBe(beganMs);
});
