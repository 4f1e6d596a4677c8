import { expect, test } from 'vitest';
import { type ObjectRecord, Opcode } from '../../../src/protocol/index.js';
import { outsideReactions } from '../../sim/world.js';
import { BLOCK, RECORD, SimOst } from './sim-ost.js';

/** After a power loss holes of layered versions are settled when they are first opened, whatever was sealed before that. */

const { sizeBytes } = RECORD;
const SNAPSHOT = { version: 1, over: 0, name: 'monday', sizeBytes, createdWallMs: 0, protected: false };

function layered(epoch: number, lastSeal: number): ObjectRecord {
  return { ...RECORD, epoch, lastSeal, headVersion: 2, headOver: 1, snapshots: [SNAPSHOT] };
}

/** How many holes are made when the head is read for the first time after a loss of power. */
function settled(sealBefore: number, sealAfter: number): number {
  const ost = new SimOst();
  ost.start({ checksums: false });
  const before = ost.attach(8, layered(2, sealBefore));
  const written = ost.begin(before, Opcode.WRITE, 8, 0x70, BLOCK, { chunkVersion: 2 });
  expect(ost.answered(written)).toBe(0);
  expect(ost.answered(ost.begin(before, Opcode.FLUSH, 8, 0))).toBe(0);
  ost.process.kill();
  ost.disk.powerLoss();
  ost.start({ checksums: false });
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
  const after = ost.attach(9, layered(3, sealAfter));
  const read = ost.begin(after, Opcode.READ, 0, 0, BLOCK, { chunkVersion: 2 });
  expect(ost.answered(read)).toBe(0);
  expect(read.memory.bytes[0]).toBe(0x70);
  return punched;
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
