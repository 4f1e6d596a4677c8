import { expect, test } from 'vitest';
import { RegionSummer } from '../../../src/ost/checksums/region-summer.js';
import { epochOfSums } from '../../../src/ost/checksums/sum-record.js';
import { ChunkState } from '../../../src/ost/chunk-file.js';
import { Opcode } from '../../../src/protocol/index.js';
import { outsideReactions } from '../../sim/world.js';
import { SimOst } from './sim-ost.js';

/** When checksums are taken, and beside what. */

test('what is signed while a copy makes the file of its chunk is given up before anything is written', () =>
  outsideReactions(() => {
    const ost = new SimOst();
    ost.start();
    const session = ost.attach(9);
    const { object } = session;
    ost.core.sealed(object, 8);
    // Older than the seal, as what a copy brings.
    const written = ost.begin(session, Opcode.WRITE, 5, 0x55);
    const chunk = ost.core.chunks.chunk(object, 0, 1);
    ost.world.run(() => chunk.state === ChunkState.CREATING, 1000, 'the file is being made');
    const summer = new RegionSummer(ost.core, ost.core.checksums!);
    expect(ost.finish(summer.sum(chunk, 0, object.lastSeal, async () => {}))).toBe('summed');
    expect(ost.answered(written)).toBe(0);
    const stored = ost.sums(object);
    expect(stored === undefined ? 0 : epochOfSums(stored)).not.toBe(5);
    // Killed: the next process trusts what is on record, and finds nothing wrong.
    ost.process.kill();
    ost.start();
    const read = ost.begin(ost.attach(10), Opcode.READ, 0, 0);
    expect(ost.answered(read)).toBe(0);
    expect(read.memory.bytes.every((byte) => byte === 0x55)).toBe(true);
  }));

function writtenAndSealed(): { ost: SimOst; session: ReturnType<SimOst['attach']> } {
  const ost = new SimOst();
  ost.start({ scrubBytesPerSec: 0 });
  ost.core.integrity!.start();
  const session = ost.attach(9);
  expect(ost.answered(ost.begin(session, Opcode.WRITE, 9, 0x55))).toBe(0);
  ost.core.sealed(session.object, 9);
  return { ost, session };
}

test('an idle OST has them some seconds after the last write', () =>
  outsideReactions(() => {
    const { ost, session } = writtenAndSealed();
    ost.pass(4000);
    expect(ost.sums(session.object)).toBeUndefined();
    ost.pass(4000);
    expect(ost.sums(session.object)).toBeDefined();
  }));

test('one with much to do leaves a region alone for half a minute', () =>
  outsideReactions(() => {
    const { ost, session } = writtenAndSealed();
    for (let second = 0; second < 25; second++) {
      for (let i = 0; i < 100; i++) {
        ost.begin(session, Opcode.READ, 0, 0);
        ost.pass(10);
      }
      expect(ost.sums(session.object), `second ${second}`).toBeUndefined();
    }
    ost.pass(12_000);
    expect(ost.sums(session.object)).toBeDefined();
  }));
