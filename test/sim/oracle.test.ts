import { describe, expect, it } from 'vitest';
import { BLOCK_BYTES, Oracle } from './oracle.js';
import { World } from './world.js';

/** What the judge of all histories says of small ones. */

const BLOCK = 3;

function judge() {
  const world = new World(1);
  const oracle = new Oracle(world, 8);
  const bytesOf = (write: ReturnType<Oracle['issue']>) => {
    const bytes = Buffer.alloc(BLOCK_BYTES);
    oracle.fill(write, bytes);
    return bytes;
  };
  const read = (write: ReturnType<Oracle['issue']>) =>
    oracle.readDone(oracle.beginRead(BLOCK), bytesOf(write), 'a guest');
  return { world, oracle, read };
}

describe('the oracle', () => {
  it('lets the first of two writes under way be applied behind the second, also after that was read', () => {
    const { world, oracle, read } = judge();
    const [first, second] = [oracle.issue(BLOCK, false), oracle.issue(BLOCK, false)];
    oracle.acknowledged(second, false, 1);
    read(second);
    oracle.acknowledged(first, false, 1);
    read(first);
    expect(world.violation).toBeNull();
  });

  it('does not let a write be read that ended before the one which was read had begun', () => {
    const { world, oracle, read } = judge();
    const first = oracle.issue(BLOCK, false);
    oracle.acknowledged(first, false, 1);
    const second = oracle.issue(BLOCK, false);
    read(first);
    read(second);
    expect(world.violation).toBeNull();
    read(first);
    expect(world.violation?.message).toMatch(/legal from index 2/);
  });

  it('lets a read that is long under way give what a loss has brought back, also after the next write', () => {
    const { world, oracle } = judge();
    const [old, lost] = [oracle.issue(BLOCK, false), oracle.issue(BLOCK, false)];
    oracle.acknowledged(old, true, 1);
    oracle.acknowledged(lost, false, 1);
    const [before, memory] = [oracle.beginRead(BLOCK), Buffer.alloc(BLOCK_BYTES)];
    oracle.fill(old, memory);
    oracle.lossRecorded();
    oracle.acknowledged(oracle.issue(BLOCK, false), true, 2);
    oracle.readDone(before, memory, 'a guest');
    expect(world.violation).toBeNull();
    oracle.readDone(oracle.beginRead(BLOCK), memory, 'a guest');
    expect(world.violation?.message).toMatch(/legal from index/);
  });
});
