import { expect, test } from 'vitest';
import { ERROR_CODES } from '../../../src/common/errors.js';
import { QuietAccess } from '../../../src/ost/checksums/quiet-access.js';
import { RegionSummer } from '../../../src/ost/checksums/region-summer.js';
import { ScrubPass } from '../../../src/ost/checksums/scrub-pass.js';
import { type ObjectRecord, Opcode } from '../../../src/protocol/index.js';
import { outsideReactions } from '../../sim/world.js';
import { BLOCK, RECORD, SimOst } from './sim-ost.js';

/** Checksums beside versions that lie over others, and beside a removed one that is merged. */

const HALF = BLOCK / 2;
/** Of the merge's steps: commits and syncs take longer. */
const STEP_MS = 0.1;
const noThrottle = async () => {};

function withSnapshot(name: string | null): ObjectRecord {
  const { sizeBytes } = RECORD;
  const snapshot = { version: 1, over: 0, name, sizeBytes, createdWallMs: 0, protected: false };
  return { ...RECORD, epoch: name === null ? 3 : 2, headVersion: 2, headOver: 1, snapshots: [snapshot] };
}

/** Version 1 has blocks 0 and 1, the head over it `ofHead`; both are sealed and have checksums. */
function snapshotTaken(ofHead: readonly { block: number; opcode: number }[]) {
  const ost = new SimOst();
  ost.start();
  const first = ost.attach(8);
  for (const block of [0, 1, 2]) {
    expect(ost.answered(ost.begin(first, Opcode.WRITE, 5, 0x50 + block, block * BLOCK))).toBe(0);
  }
  const session = ost.attach(9, withSnapshot('monday'));
  for (const { block, opcode } of ofHead) {
    const written = ost.begin(session, opcode, 6, 0x70 + block, block * BLOCK, { chunkVersion: 2 });
    expect(ost.answered(written)).toBe(0);
  }
  ost.core.sealed(session.object, 8);
  for (const version of [1, 2]) sign(ost, session, version);
  return { ost, session };
}

type Session = ReturnType<SimOst['attach']>;

function sign(ost: SimOst, { object }: Session, version: number) {
  const summer = new RegionSummer(ost.core, ost.core.checksums!);
  const access = new QuietAccess(ost.core, object.record.id);
  const outcome = access.with(0, version, (chunk) => summer.sum(chunk, 0, object.lastSeal, noThrottle));
  ost.finish(outcome);
  access.close();
}

/** A scrub of the version, which may be over later. */
function scrub(ost: SimOst, { object }: Session, version: number): { over: boolean } {
  const done = { over: false };
  const pass = new ScrubPass(ost.core, ost.core.checksums!, noThrottle);
  const access = new QuietAccess(ost.core, object.record.id);
  pass.region(access, { chunk: 0, version, region: 0, epoch: 1 }).then(() => {
    access.close();
    done.over = true;
  });
  return done;
}

const HEADS = [
  { what: 'nothing', ofHead: [], bytes: [0x50, 0x51, 0x52] },
  { what: 'a block', ofHead: [{ block: 1, opcode: Opcode.WRITE }], bytes: [0x50, 0x71, 0x52] },
  {
    what: 'a block and zeros',
    ofHead: [
      { block: 1, opcode: Opcode.WRITE },
      { block: 2, opcode: Opcode.ERASE },
    ],
    bytes: [0x50, 0x71, 0],
  },
] as const;

for (const { what, ofHead, bytes } of HEADS) {
  test(`nothing is taken for damaged while a version is merged into one that has ${what}`, () =>
    outsideReactions(() => {
      const { ost, session } = snapshotTaken(ofHead);
      const { object } = session;
      object.record = withSnapshot(null);
      ost.core.layers.merger.ask(object, [1]);
      const reads: { outcome: ReturnType<SimOst['begin']>; byte: number }[] = [];
      const scrubs: { over: boolean }[] = [];
      const { key } = object;
      for (let i = 0; i < 1000 && ost.core.records.hasChunk(key, 0, 1); i++) {
        // Half a block: nothing can be said of it before all of it is read once more.
        bytes.forEach((byte, block) => {
          const range = { length: HALF, chunkVersion: 2 };
          reads.push({ outcome: ost.begin(session, Opcode.READ, 0, 0, block * BLOCK, range), byte });
        });
        if (i % 4 === 0) scrubs.push(scrub(ost, session, 1), scrub(ost, session, 2));
        ost.pass(STEP_MS);
      }
      expect(ost.core.records.hasChunk(key, 0, 1)).toBe(false);
      ost.pass(1000);
      expect(scrubs.every(({ over }) => over)).toBe(true);
      for (const { outcome, byte } of reads) {
        expect(outcome.status).toBe(0);
        expect(outcome.memory.bytes.every((one) => one === byte)).toBe(true);
      }
      expect(ost.core.damage.foundTotal).toBe(0);
      sign(ost, session, 2);
      expect(ost.sums(object, 2)).toBeDefined();
    }));

  test(`killed anywhere in a merge into one that has ${what}, the OST finds no damage and merges the rest`, () =>
    outsideReactions(() => {
      for (let afterMs = 0; afterMs < 12; afterMs += 2 * STEP_MS) {
        const { ost, session } = snapshotTaken(ofHead);
        session.object.record = withSnapshot(null);
        ost.core.layers.merger.ask(session.object, [1]);
        ost.pass(afterMs);
        ost.process.kill();
        ost.start();
        const access = ost.core.object(RECORD.id, withSnapshot(null));
        const scrubs = [1, 2].map((version) => scrub(ost, { object: access } as Session, version));
        ost.pass(50);
        expect(scrubs.every(({ over }) => over)).toBe(true);
        const again = ost.attach(10, withSnapshot(null));
        ost.core.layers.merger.ask(again.object, [1]);
        ost.pass(100);
        expect(ost.core.records.hasChunk(again.object.key, 0, 1), `${afterMs} ms`).toBe(false);
        bytes.forEach((byte, block) => {
          const read = ost.begin(again, Opcode.READ, 0, 0, block * BLOCK, { chunkVersion: 2 });
          expect(ost.answered(read)).toBe(0);
          expect(
            read.memory.bytes.every((one) => one === byte),
            `${afterMs} ms`,
          ).toBe(true);
        });
        expect(ost.core.damage.foundTotal, `${afterMs} ms`).toBe(0);
      }
    }));
}

const { ERASE, WRITE } = Opcode;

for (const { what, opcode, change, before } of [
  { what: 'zeroes a block', opcode: ERASE, change: {}, before: [[0, WRITE]] },
  {
    what: 'makes what lies below show',
    opcode: ERASE,
    change: { revert: true },
    before: [
      [0, ERASE],
      [0, WRITE],
    ],
  },
  { what: 'writes a part of a block', opcode: WRITE, change: { length: 1024 }, before: [[1, WRITE]] },
] as const) {
  test(`what is signed while a copy ${what} is given up`, () =>
    outsideReactions(() => {
      for (let beforeMs = 0; beforeMs < 6; beforeMs += STEP_MS) {
        const { ost, session } = snapshotTaken([]);
        const { object } = session;
        for (const [block, first] of before) {
          const done = ost.begin(session, first, 6, 0x70, block * BLOCK, { chunkVersion: 2 });
          expect(ost.answered(done)).toBe(0);
        }
        const summer = new RegionSummer(ost.core, ost.core.checksums!);
        const access = new QuietAccess(ost.core, object.record.id);
        const signed = access.with(0, 2, (chunk) => summer.sum(chunk, 0, object.lastSeal, noThrottle));
        ost.pass(beforeMs);
        // Older than the seal, as what a copy brings.
        const changed = ost.begin(session, opcode, 6, 0x30, 0, { chunkVersion: 2, ...change });
        ost.finish(signed);
        expect(ost.answered(changed)).toBe(0);
        ost.process.kill();
        ost.start();
        const next = ost.core.object(RECORD.id, null);
        const scrubbed = scrub(ost, { object: next } as Session, 2);
        ost.pass(50);
        expect(scrubbed.over).toBe(true);
        expect(ost.core.damage.foundTotal, `${beforeMs} ms`).toBe(0);
      }
    }));
}

test('what lies below is not shown by other versions than those that the source was asked by', () =>
  outsideReactions(() => {
    const { ost, session } = snapshotTaken([]);
    const write = ost.begin(session, WRITE, 6, 0x70, 0, { chunkVersion: 2 });
    expect(ost.answered(write)).toBe(0);
    const change = { chunkVersion: 2, revert: true, revertFor: [] };
    const refused = ost.begin(session, ERASE, 6, 0, 0, change);
    expect(ost.answered(refused)).toBe(ERROR_CODES.BUSY.wire);
    const read = ost.begin(session, Opcode.READ, 6, 0, 0, { chunkVersion: 2 });
    expect(ost.answered(read)).toBe(0);
    expect(read.memory.bytes.every((one) => one === 0x70)).toBe(true);
  }));
