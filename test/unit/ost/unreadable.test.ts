import { expect, test } from 'vitest';
import { ERROR_CODES } from '../../../src/common/errors.js';
import { setDamaged } from '../../../src/ost/checksums/set-damaged.js';
import { Opcode } from '../../../src/protocol/index.js';
import { outsideReactions } from '../../sim/world.js';
import { BLOCK, RECORD, SimOst } from './sim-ost.js';

/** A sector that the disk cannot read: of a block known to be damaged, and of nothing else. */

const CHECKSUM = ERROR_CODES.CHECKSUM.wire;
const FILE = `${RECORD.id}/0.1`;

let ost: SimOst;
let session: ReturnType<SimOst['attach']>;

function begin(tuning: Parameters<SimOst['start']>[0] = {}): void {
  ost = new SimOst();
  ost.start({ scrubBytesPerSec: 0, sumDelayMs: 100_000_000, ...tuning });
  session = ost.attach(2);
  for (let block = 0; block < 4; block++) {
    expect(ost.answered(ost.begin(session, Opcode.WRITE, 2, 10 + block, block * BLOCK))).toBe(0);
  }
  expect(ost.answered(ost.begin(session, Opcode.FLUSH, 2, 0))).toBe(0);
}

/** The disk cannot read the second block of the chunk. */
const spoil = () => ost.disk.files.get(FILE)!.unreadable.add(BLOCK / 1024 + 2);

const heal = () => ost.disk.files.get(FILE)!.unreadable.clear();

const read = (offset: number, length = BLOCK) => {
  const outcome = ost.begin(session, Opcode.READ, 2, 0, offset, { length });
  return { status: ost.answered(outcome), first: outcome.memory.bytes[0] };
};

const scrub = () => {
  const { scrubs } = ost.core.integrity!;
  ost.finish(scrubs.begin(RECORD.id, 2 ** 30, { gone: false }));
  ost.world.run(() => !scrubs.job!.running, 60_000, 'a scrub');
  return scrubs.job!;
};

test.each([true, false])('is damage, of its block alone (checksums %s)', (checksums) =>
  outsideReactions(() => {
    begin({ checksums });
    spoil();
    expect(read(0, 4 * BLOCK).status).toBe(CHECKSUM);
    expect(read(0)).toEqual({ status: 0, first: 10 });
    expect(read(2 * BLOCK, 2 * BLOCK)).toEqual({ status: 0, first: 12 });
    expect(ost.core.damage.list(RECORD.id, 10)).toMatchObject([{ chunk: 0, offset: BLOCK, sum: null }]);
  }),
);

test('is right again when all of it is written', () =>
  outsideReactions(() => {
    begin();
    spoil();
    expect(read(BLOCK).status).toBe(CHECKSUM);
    expect(ost.answered(ost.begin(session, Opcode.WRITE, 2, 99, BLOCK))).toBe(0);
    expect(read(BLOCK)).toEqual({ status: 0, first: 99 });
    expect(ost.core.damage.count).toBe(0);
  }));

test('that can be read again is what it was, after a while in which the disk is not asked', () =>
  outsideReactions(() => {
    begin();
    spoil();
    expect(read(BLOCK).status).toBe(CHECKSUM);
    heal();
    expect(read(BLOCK).status).toBe(CHECKSUM);
    ost.pass(130_000);
    expect(read(BLOCK)).toEqual({ status: 0, first: 11 });
    expect(ost.core.damage.count).toBe(0);
  }));

test('a replica is not right because its disk can be read again', () =>
  outsideReactions(() => {
    begin();
    spoil();
    expect(read(BLOCK).status).toBe(CHECKSUM);
    const asked = { handle: 1, chunk: 0, chunkVersion: 1, offset: BLOCK, tag: 2, sum: null };
    expect(ost.finish(setDamaged(ost.core, session, asked))).toEqual({ damaged: true });
    heal();
    ost.pass(130_000);
    expect(read(BLOCK).status).toBe(CHECKSUM);
  }));

test('a scrub counts it and goes on, and no checksum is made of what nobody has read', () =>
  outsideReactions(() => {
    begin();
    ost.core.sealed(session.object, 2);
    spoil();
    expect(scrub()).toMatchObject({ badBlocks: 1, failure: '' });
    expect(ost.sums(session.object)).toBeUndefined();
    heal();
    expect(scrub()).toMatchObject({ badBlocks: 0, failure: '' });
    expect(ost.sums(session.object)).toBeDefined();
    expect(ost.core.damage.count).toBe(0);
  }));
