import { expect, test } from 'vitest';
import { RecordType } from '../../../src/ost/record-codec.js';
import { type ObjectRecord, Opcode } from '../../../src/protocol/index.js';
import { outsideReactions } from '../../sim/world.js';
import { BLOCK, RECORD, SimOst } from './sim-ost.js';

/** An object is removed while its removed snapshot is being merged: nothing of it comes back. */

const STEP_MS = 0.2;
const BLOCKS = 12;

function withSnapshot(name: string | null): ObjectRecord {
  const { sizeBytes } = RECORD;
  const snapshot = { version: 1, over: 0, name, sizeBytes, createdWallMs: 0, protected: false };
  return { ...RECORD, epoch: name === null ? 3 : 2, headVersion: 2, headOver: 1, snapshots: [snapshot] };
}

/** The merge of version 1 into a head that has the first `ofHead` blocks has just begun. */
function merging(ofHead: number) {
  const ost = new SimOst();
  ost.start({ checksums: false });
  const first = ost.attach(8);
  for (let block = 0; block < BLOCKS; block++) {
    const written = ost.begin(first, Opcode.WRITE, 5, 0x50, block * BLOCK);
    expect(ost.answered(written)).toBe(0);
  }
  const { object } = ost.attach(9, withSnapshot('monday'));
  for (let block = 0; block < ofHead; block++) {
    const written = ost.begin(object.writer!, Opcode.WRITE, 6, 0x70, block * BLOCK, { chunkVersion: 2 });
    expect(ost.answered(written)).toBe(0);
  }
  object.record = withSnapshot(null);
  ost.core.layers.merger.ask(object, [1]);
  return ost;
}

/** Types of the records that there are of the object. */
function recordsOf(ost: SimOst): number[] {
  const id = RECORD.id.replaceAll('-', '');
  return [...ost.disk.records.keys()]
    .filter((key) => key.slice(2, 34) === id)
    .map((key) => Number.parseInt(key.slice(0, 2), 16));
}

test.each([
  ['nothing', 0],
  ['a block', 1],
  ['nearly all', BLOCKS - 1],
  ['more than the snapshot', BLOCKS + 4],
])('removed anywhere in a merge into a head that has %s', (_what, ofHead) =>
  outsideReactions(() => {
    for (let afterMs = 0; afterMs < 16; afterMs += STEP_MS) {
      const ost = merging(ofHead);
      ost.pass(afterMs);
      ost.finish(ost.core.removal.remove(RECORD.id));
      const left = () => ({ records: recordsOf(ost), files: [...ost.disk.files.keys()] });
      const nothing = { records: [RecordType.TOMBSTONE], files: [] };
      expect(left(), `${afterMs} ms, when it is answered`).toEqual(nothing);
      ost.pass(20_000);
      expect(left(), `${afterMs} ms, later`).toEqual(nothing);
      ost.process.kill();
      ost.start({ checksums: false });
      ost.pass(100);
      expect(left(), `${afterMs} ms, after a restart`).toEqual(nothing);
    }
  }),
);
