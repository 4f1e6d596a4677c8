import { describe, expect, it } from 'vitest';
import { BLOCK_BYTES, type Change, LegalValues, SECTOR_BYTES, WrongData } from './legal-values.js';

const SIZE_BYTES = 4 * BLOCK_BYTES;

function bytesOf(values: LegalValues, change: Change | null, sectors = 1): Buffer {
  const bytes = Buffer.alloc(sectors * SECTOR_BYTES);
  if (change !== null && change.kind === 'write') values.fill(change, bytes);
  return bytes;
}

/** Reads one sector as if it held what a change (null: nothing ever) has put there. */
function reads(values: LegalValues, change: Change | null, sector = 0): void {
  values.endRead(values.beginRead(sector, 1), bytesOf(values, change), 'test');
}

function written(values: LegalValues, durable = false): Change {
  const change = values.issue('write', 0, 1);
  values.acknowledge(change, durable);
  return change;
}

describe('what a volume may give', () => {
  it('is the last acknowledged write or a later one under way', () => {
    const values = new LegalValues(SIZE_BYTES);
    reads(values, null);
    const first = written(values);
    expect(() => reads(values, null)).toThrow(/sector 0 \(block 0\) has zeros; legal is what ended after/);
    const second = values.issue('write', 0, 1);
    reads(values, first);
    reads(values, second);
    // Read once, it stays.
    expect(() => reads(values, first)).toThrow(WrongData);
  });

  it('was legal when the read began or became so', () => {
    const values = new LegalValues(SIZE_BYTES);
    const first = written(values);
    const look = values.beginRead(0, 1);
    const second = written(values);
    values.endRead(look, bytesOf(values, first), 'test');
    expect(() => reads(values, first)).toThrow(WrongData);
    reads(values, second);
  });

  it('is either of two that were in flight together', () => {
    const values = new LegalValues(SIZE_BYTES);
    const first = values.issue('write', 0, 1);
    const second = values.issue('write', 0, 1);
    values.acknowledge(second, false);
    values.acknowledge(first, false);
    reads(values, first);
    const third = written(values);
    expect(() => reads(values, second)).toThrow(WrongData);
    reads(values, third);
  });

  it('is of a failed write all or nothing known, until a later one is acknowledged', () => {
    const values = new LegalValues(SIZE_BYTES);
    const first = written(values);
    const failed = values.issue('write', 0, 1);
    values.fail(failed);
    reads(values, first);
    reads(values, failed);
    written(values);
    expect(() => reads(values, failed)).toThrow(WrongData);
  });

  it('is after a loss what was flushed or anything later, and then stays', () => {
    const values = new LegalValues(SIZE_BYTES);
    const flushed = written(values);
    values.endFlush(values.beginFlush());
    const second = written(values);
    const third = written(values);
    values.loss();
    expect(values.missing).toBe(0);
    reads(values, flushed);
    expect(values.missing).toBe(1);
    reads(values, third);
    expect(() => reads(values, flushed)).toThrow(WrongData);
    expect(() => reads(values, second)).toThrow(WrongData);
    values.loss();
    reads(values, second);
    expect(() => reads(values, null)).toThrow(WrongData);
  });

  it('is what FUA wrote, also after a loss', () => {
    const values = new LegalValues(SIZE_BYTES);
    const first = written(values);
    written(values, true);
    values.loss();
    expect(() => reads(values, first)).toThrow(WrongData);
  });

  it('is not covered by a flush that began before it was acknowledged', () => {
    const values = new LegalValues(SIZE_BYTES);
    const change = values.issue('write', 0, 1);
    const flush = values.beginFlush();
    values.acknowledge(change, false);
    values.endFlush(flush);
    values.loss();
    reads(values, null);
  });

  it('may lack what was acknowledged while the power went', () => {
    const values = new LegalValues(SIZE_BYTES);
    const change = values.issue('write', 0, 1);
    values.loss();
    values.acknowledge(change, false);
    reads(values, null);
  });

  it('is zeros after a trim', () => {
    const values = new LegalValues(SIZE_BYTES);
    const first = written(values);
    values.acknowledge(values.issue('trim', 0, 8), false);
    expect(() => reads(values, first)).toThrow(WrongData);
    reads(values, null);
  });

  it.each([
    ['of another sector', (bytes: Buffer) => bytes.writeUInt32LE(1, 0)],
    ['with one bit changed', (bytes: Buffer) => bytes.writeUInt8(bytes[300]! ^ 4, 300)],
  ])('is nothing %s', (_what, change) => {
    const values = new LegalValues(SIZE_BYTES);
    const bytes = bytesOf(values, written(values));
    change(bytes);
    expect(() => values.check(0, bytes, 'a disk')).toThrow(/a disk: sector 0/);
  });

  it('is judged sector by sector, of changes of any size', () => {
    const values = new LegalValues(SIZE_BYTES);
    const all = values.issue('write', 0, 32);
    values.acknowledge(all, false);
    const part = values.issue('write', 5, 7);
    values.acknowledge(part, false);
    const bytes = bytesOf(values, all, 32);
    expect(() => values.check(0, bytes, 'a disk')).toThrow(/sector 5 \(block 0\)/);
    bytesOf(values, part, 7).copy(bytes, 5 * SECTOR_BYTES);
    values.check(0, bytes, 'a disk');
  });

  it('does not depend on how long the history is', () => {
    const values = new LegalValues(SIZE_BYTES);
    const flushed = written(values, true);
    for (let i = 0; i < 200; i++) written(values);
    values.loss();
    reads(values, flushed);
    for (let i = 0; i < 200; i++) written(values, true);
    expect(() => reads(values, flushed)).toThrow(WrongData);
  });
});
