import { expect, test } from 'vitest';
import { IoPath } from '../../../src/client/io-path.js';
import { join } from '../../../src/client/join.js';
import { Member } from '../../../src/client/member.js';
import { DEFAULT_SEAL_TIMES } from '../../../src/client/seal-due.js';
import { type VolumeEnvironment, VolumeState } from '../../../src/client/volume-state.js';
import { systemClock } from '../../../src/common/clock.js';
import { ERROR_CODES, RawstorError } from '../../../src/common/errors.js';
import { silentLogger } from '../../../src/common/log.js';
import type { ChunkOp } from '../../../src/protocol/chunk-op.js';
import { STATUS_CONNECTION_LOST } from '../../../src/protocol/control.js';
import { Opcode } from '../../../src/protocol/frame.js';
import type { ObjectInfo } from '../../../src/protocol/object-info.js';
import type { OstPeer } from '../../../src/protocol/ost-peer.js';
import { objectRecord, testId } from '../ost/support.js';

const BOOT = { kernel: 'k', generation: 1 };

/** A member whose OST the test answers for. */
function member(number: number, inSync: boolean) {
  const sent: ChunkOp[] = [];
  const owner = { memberEnded() {}, memberConfirmed() {} };
  const ost = {
    ostId: testId(number),
    addresses: [],
    labels: {},
    capacityBytes: 1,
    freeBytes: 1,
    bootId: BOOT,
  };
  const made = new Member(ost, inSync, inSync ? 0 : 1, inSync ? BOOT : null, owner);
  const peer = {
    local: false,
    submit: (op: ChunkOp) => {
      op.sentAtMs = systemClock.nowMs();
      sent.push(op);
    },
    destroy: () => {
      made.peer = null;
    },
  };
  made.peer = peer as unknown as OstPeer;
  made.bootId = BOOT;
  made.confirmedAtMs = systemClock.nowMs() + 60_000;
  made.receiving = !inSync;
  const answer = (status: number) => {
    const op = sent.find(({ opcode }) => opcode === Opcode.WRITE)!;
    op.status = status;
    op.owner.chunkDone(op);
  };
  return { made, sent, answer };
}

function stateOf(members: Member[]): VolumeState {
  const pool = [1, 2].map((number) => ({ ostId: testId(number), weight: 1, domain: `d${number}` }));
  const map = { rule: 'fixed' as const, pool, nearDomain: '', exceptions: [] };
  const env = {
    clock: systemClock,
    log: silentLogger,
    confirmMs: 1000,
    silenceMs: 2000,
    stuckMs: 60_000,
    host: '',
  };
  return new VolumeState(
    { ...env, seals: DEFAULT_SEAL_TIMES } as unknown as VolumeEnvironment,
    objectRecord(1, { replicas: 2, map }) as ObjectInfo,
    5,
    members,
  );
}

test('a replica that failed a write while it counted, and whose join was given up, does not join without it', async () => {
  const whole = member(1, true);
  const joining = member(2, false);
  const state = stateOf([whole.made, joining.made]);
  const told: string[] = [];
  const path = new IoPath(state, {
    pieceDone: (_piece, error) => told.push(error?.code ?? 'OK'),
    membersFailed: () => told.push('members failed'),
    allFailed: () => told.push('all failed'),
    resyncFailed: (failed) => {
      told.push('resync failed');
      failed.end(false);
    },
    tooEarly() {},
    reviewed() {},
  });
  let giveUp!: () => void;
  let lost = false;
  const joined = join(joining.made, {
    state,
    path,
    recorder: { storeSet: async () => true },
    lost: { any: () => lost },
    releaseAcks() {},
    unlessLost: (work: Promise<unknown>) =>
      new Promise((resolve, reject) => {
        work.then(resolve, reject);
        giveUp = () => reject(new Error('a member is lost'));
      }),
  } as unknown as Parameters<typeof join>[1]);
  await systemClock.sleep(5);
  expect(joining.made.counts).toBe(true);

  const piece = path.piece();
  piece.opcode = Opcode.WRITE;
  piece.length = 512;
  path.start(piece);
  joining.answer(ERROR_CODES.NO_SPACE.wire);
  lost = true;
  giveUp();
  expect(await joined).toBe(false);
  whole.answer(0);

  // The guest has its write; the replica that has not begins its resync anew.
  expect(told).toEqual(['resync failed', 'OK']);
  expect(joining.made.attached).toBe(false);
});

test('what waits for the target of a move goes on when that is not wanted any more, though its session is away', async () => {
  const whole = member(1, true);
  const joining = member(2, false);
  const state = stateOf([whole.made, joining.made]);
  const { map } = state.object;
  state.move = {
    wanted: { id: testId(9), from: null, to: testId(2), map, sinceWallMs: 0 },
    target: joining.made,
  };
  const told: string[] = [];
  const path = new IoPath(state, {
    pieceDone: (_piece, error) => told.push(error?.code ?? 'OK'),
    membersFailed() {},
    allFailed() {},
    resyncFailed() {},
    tooEarly() {},
    reviewed() {},
  });
  let answer!: (error: Error) => void;
  const joined = join(joining.made, {
    state,
    path,
    recorder: {
      storeSet: async () => true,
      changeMembers: () => new Promise((_, reject) => (answer = reject)),
    },
    lost: { any: () => false, answered: (swap: Promise<unknown>) => swap },
    releaseAcks() {},
    unlessLost: (work: Promise<unknown>) => work,
  } as unknown as Parameters<typeof join>[1]);
  await systemClock.sleep(5);
  const flushing = joining.sent.find(({ opcode }) => opcode === Opcode.FLUSH)!;
  flushing.status = 0;
  flushing.owner.chunkDone(flushing);
  await systemClock.sleep(5);

  const piece = path.piece();
  piece.opcode = Opcode.WRITE;
  piece.length = 512;
  path.start(piece);
  whole.answer(0);
  joining.made.peer = null;
  joining.answer(STATUS_CONNECTION_LOST);
  expect(told).toEqual([]);
  answer(new RawstorError('NOT_FOUND', 'not wanted any more'));
  expect(await joined).toBe(false);
  expect(told).toEqual(['OK']);
  expect(joining.made.receiving).toBe(false);
});

test('a read waits for a member whose session is ending, and does not ask it again and again', async () => {
  const only = member(1, true);
  // As in this process: what it has in flight is answered first.
  Object.assign(only.made.peer!, { local: true, destroy: () => {} });
  const path = new IoPath(stateOf([only.made, member(2, false).made]), {
    pieceDone() {},
    membersFailed() {},
    allFailed() {},
    resyncFailed() {},
    tooEarly() {},
    reviewed() {},
  });
  only.made.end(false);
  const piece = path.piece();
  piece.opcode = Opcode.READ;
  piece.length = 512;
  path.start(piece);
  expect(only.sent.filter(({ opcode }) => opcode === Opcode.READ)).toEqual([]);
  expect(path.waits).toBe(true);
});
