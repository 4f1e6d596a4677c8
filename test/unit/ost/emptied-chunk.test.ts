import { expect, test } from 'vitest';
import { Opcode } from '../../../src/protocol/index.js';
import { outsideReactions } from '../../sim/world.js';
import { BLOCK, SimOst } from './sim-ost.js';

/** What a version has of a chunk is taken away, whatever the chunk's entry has been through. */

function written() {
  const ost = new SimOst();
  ost.start({ checksums: false });
  const session = ost.attach(8);
  for (const block of [0, 1]) {
    expect(ost.answered(ost.begin(session, Opcode.WRITE, 5, 0x50, block * BLOCK))).toBe(0);
  }
  return { ost, session, chunk: session.object.chunks.get(1)! };
}

function show(ost: SimOst, session: ReturnType<SimOst['attach']>): number | undefined {
  const read = ost.begin(session, Opcode.READ, 0, 0);
  expect(ost.answered(read)).toBe(0);
  return read.memory.bytes[0];
}

test('also when it is closed, to have fewer open, between the last use and that', () =>
  outsideReactions(() => {
    const { ost, session, chunk } = written();
    expect(ost.answered(ost.begin(session, Opcode.FLUSH, 5, 0))).toBe(0);
    chunk.holders++;
    let worked = 0;
    const emptied = ost.core.chunks.empty(chunk, async () => {
      worked++;
      await ost.core.storage.removeChunk(session.object.record.id, { chunk: 0, version: 1 });
    });
    ost.pass(20);
    expect(worked).toBe(0);
    chunk.holders--;
    ost.core.storage.onShort!();
    expect(session.object.chunks.size).toBe(0);
    ost.finish(emptied);
    expect(worked).toBe(1);
    expect(ost.disk.files.size).toBe(0);
    expect(show(ost, session)).toBe(0);
  }));

test('and what was unflushed of it counts as dirty no more', () =>
  outsideReactions(() => {
    const { ost, session, chunk } = written();
    const { dirty } = ost.core;
    expect(dirty.totalBytes).toBe(2 * BLOCK);
    const remove = () => ost.core.storage.removeChunk(session.object.record.id, { chunk: 0, version: 1 });
    ost.finish(ost.core.chunks.empty(chunk, remove));
    expect(dirty.totalBytes).toBe(0);
    expect(show(ost, session)).toBe(0);
    expect(ost.answered(ost.begin(session, Opcode.WRITE, 5, 0x51))).toBe(0);
    expect(dirty.totalBytes).toBe(BLOCK);
    expect(ost.answered(ost.begin(session, Opcode.FLUSH, 5, 0))).toBe(0);
    expect(dirty.totalBytes).toBe(0);
  }));
