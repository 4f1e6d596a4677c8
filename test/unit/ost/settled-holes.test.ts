import { expect, test } from 'vitest';
import { RawstorError } from '../../../src/common/errors.js';
import { type ObjectRecord, Opcode } from '../../../src/protocol/index.js';
import { outsideReactions } from '../../sim/world.js';
import { BLOCK, RECORD, SimOst } from './sim-ost.js';

/** After a power loss holes of layered versions are settled when they are first opened, whatever was sealed before that. */

const { sizeBytes } = RECORD;
const SNAPSHOT = { version: 1, over: 0, name: 'monday', sizeBytes, createdWallMs: 0, protected: false };

function layered(epoch: number, lastSeal: number): ObjectRecord {
  return { ...RECORD, epoch, lastSeal, headVersion: 2, headOver: 1, snapshots: [SNAPSHOT] };
}

/** What is written is in an unsealed region of a head over a snapshot, and the power is lost. */
function lossOf(sealed: number): SimOst {
  const ost = new SimOst();
  ost.start({ checksums: false });
  const before = ost.attach(8, layered(2, sealed));
  const written = ost.begin(before, Opcode.WRITE, 8, 0x70, BLOCK, { chunkVersion: 2 });
  expect(ost.answered(written)).toBe(0);
  expect(ost.answered(ost.begin(before, Opcode.FLUSH, 8, 0))).toBe(0);
  ost.process.kill();
  ost.disk.powerLoss();
  return ost;
}

function settlesInTime(ost: SimOst): void {
  ost.world.run(() => !ost.core.boot.unsettled, 60_000, 'all holes settled');
}

/** Counts the holes that this process makes from now on. */
function punches(ost: SimOst): () => number {
  const { storage } = ost.core;
  const open = storage.open.bind(storage);
  let punched = 0;
  storage.open = async (...args) => {
    const file = await open(...args);
    if (file === null) return null;
    const punch = file.punch.bind(file);
    file.punch = (op) => {
      punched++;
      punch(op);
    };
    return file;
  };
  return () => punched;
}

function read(ost: SimOst, epoch: number, sealed: number): void {
  const session = ost.attach(epoch, layered(epoch - 6, sealed));
  const done = ost.begin(session, Opcode.READ, 0, 0, BLOCK, { chunkVersion: 2 });
  expect(ost.answered(done)).toBe(0);
  expect(done.memory.bytes[0]).toBe(0x70);
}

/** How many holes are made when the head is read for the first time after a loss of power. */
function settled(sealBefore: number, sealAfter: number): number {
  const ost = lossOf(sealBefore);
  ost.start({ checksums: false });
  const count = punches(ost);
  read(ost, 9, sealAfter);
  return count();
}

test.each([
  ['nothing was sealed', 0, 0],
  ['who attached has sealed it meanwhile', 0, 8],
])('in a region that was not sealed then: %s', (_what, before, after) =>
  outsideReactions(() => {
    expect(settled(before, after)).toBeGreaterThan(0);
  }),
);

test('and not in one that was', () =>
  outsideReactions(() => {
    expect(settled(8, 8)).toBe(0);
  }));

test('by a process of its own accord, and that is on record: the next one makes no more', () =>
  outsideReactions(() => {
    const ost = lossOf(0);
    ost.start({ checksums: false });
    const count = punches(ost);
    expect(ost.core.boot.unsettled).toBe(true);
    settlesInTime(ost);
    expect(count()).toBeGreaterThan(0);
    ost.process.kill();
    ost.start({ checksums: false });
    const next = punches(ost);
    read(ost, 9, 0);
    expect([ost.core.boot.unsettled, next()]).toEqual([false, 0]);
  }));

test.each([
  ['killed', (ost: SimOst) => ost.process.kill()],
  ['stopped in order', (ost: SimOst) => ost.finish(ost.core.close())],
])(
  'also where the process was %s before it had settled any, and its object was sealed meanwhile',
  (_how, end) =>
    outsideReactions(() => {
      const ost = lossOf(0);
      ost.start({ checksums: false });
      ost.core.storage.open = () => Promise.reject(new RawstorError('IO', 'no file can be opened now'));
      ost.attach(9, layered(3, 8));
      ost.pass(1000);
      expect([ost.core.boot.powerLost, ost.core.boot.unsettled]).toEqual([true, true]);
      end(ost);
      ost.process.kill();
      ost.start({ checksums: false });
      const next = punches(ost);
      read(ost, 10, 8);
      expect([ost.core.boot.powerLost, next() > 0]).toEqual([false, true]);
    }),
);

test('where nothing has layers there is nothing to settle', () =>
  outsideReactions(() => {
    const ost = new SimOst();
    ost.start({ checksums: false });
    ost.attach(8);
    ost.process.kill();
    ost.disk.powerLoss();
    ost.start({ checksums: false });
    expect([ost.core.boot.powerLost, ost.core.boot.unsettled]).toEqual([true, false]);
  }));
