import { expect, test } from 'vitest';
import type { BlockRequest } from '../../../src/block/device.js';
import { type StandbyEnvironment, StandbyReader } from '../../../src/client/hand-over/standby-reader.js';
import { systemClock } from '../../../src/common/clock.js';
import { ERROR_CODES } from '../../../src/common/errors.js';
import { SliceList } from '../../../src/io/memory.js';
import type { ChunkOp } from '../../../src/protocol/chunk-op.js';
import type { ObjectInfo } from '../../../src/protocol/object-info.js';
import { failure, objectRecord, testId } from '../ost/support.js';

const BOOT = { kernel: 'k', generation: 1 };

/** A reader of a volume on one OST that answers reads with these. */
function readerOf(statuses: number[]): StandbyReader {
  const ostId = testId(0xa1);
  const object = {
    ...objectRecord(1, {
      map: { rule: 'fixed', pool: [{ ostId, weight: 1, domain: 'd' }], nearDomain: '', exceptions: [] },
      members: [{ ostId, state: 'in-sync', bootId: BOOT, staleSince: 0 }],
    }),
    clean: false,
    lease: { holder: 'writer' },
    sessionEpoch: 5,
  } as unknown as ObjectInfo;
  const peer = {
    call: async () => ({ handle: 1, bootId: BOOT }),
    destroy() {},
    submit(op: ChunkOp) {
      op.status = statuses.shift() ?? 0;
      setImmediate(() => op.owner.chunkDone(op));
    },
  };
  const env = {
    clock: systemClock,
    silenceMs: 1000,
    connector: { connect: async () => peer },
    mds: { call: async (method: string) => (method === 'mds.getObj' ? object : { osts: [] }) },
  };
  return new StandbyReader(env as unknown as StandbyEnvironment, object);
}

const block = (offset: number) => ({ offset, length: 512, slices: new SliceList() }) as BlockRequest;

test('what an OST calls invalid, as in the moment of a snapshot, is read again', async () => {
  const statuses = [ERROR_CODES.INVALID.wire, 0];
  await readerOf(statuses).read(block(0));
  expect(statuses).toEqual([]);
});

test('a read behind the end is refused at once', async () => {
  await failure('INVALID', readerOf([]).read(block(2 ** 40)));
});
