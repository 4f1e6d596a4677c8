import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { isDue } from '../../../src/client/immutable/catalog-keeper.js';
import { encodeFrame, type Frame, FrameReader } from '../../../src/client/immutable/journal/frames.js';
import { Merged } from '../../../src/client/immutable/journal/merge.js';
import type { JournalRow } from '../../../src/client/immutable/journal/rows.js';
import { MiB } from '../../../src/common/units.js';
import { firstRevision } from '../../../src/protocol/catalog-messages.js';

/** What keeps the catalog on the OSTs: frames, and how they are put together again. */

const bytes = (value: number) => Uint8Array.of(value);
const frames: Frame[] = [
  { from: 5 },
  { records: [{ revision: 6, puts: [['bucket/a', Buffer.alloc(1500, 7)]], deletes: ['bucket/b'] }] },
  { rows: [['key/a/x', 3, bytes(1)]] },
  { end: { rows: 1 } },
];
const plain = (found: readonly Frame[]) =>
  JSON.stringify(found, (_, value) =>
    value?.type === 'Buffer' ? value.data : value instanceof Uint8Array ? [...value] : value,
  );

describe('frames', () => {
  const whole = Buffer.concat(frames.map(encodeFrame));

  test('are read however the bytes come, and end at the first sector of zeros', () => {
    const stream = Buffer.concat([whole, Buffer.alloc(1024), encodeFrame(frames[0]!)]);
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 900 }), { maxLength: 20 }), (cuts) => {
        const reader = new FrameReader();
        const found: Frame[] = [];
        let at = 0;
        for (const cut of [...cuts, stream.length]) {
          found.push(...reader.push(stream.subarray(at, at + cut)));
          at += cut;
        }
        expect(plain(found)).toBe(plain(frames));
        expect(reader.ended).toBe(true);
      }),
    );
  });

  test('one that was changed anywhere, or cut short, is not taken, nor what is behind it', () => {
    const first = encodeFrame(frames[1]!);
    const used = 12 + first.readUInt32LE(4);
    for (let at = 0; at < used; at += 7) {
      const changed = Buffer.concat([whole.subarray(0, 512), first, whole.subarray(-512)]);
      changed[512 + at]! ^= 0x20;
      expect(new FrameReader().push(changed)).toHaveLength(1);
    }
    expect(new FrameReader().push(whole.subarray(0, 512 + 512))).toHaveLength(1);
  });
});

describe('journals and a checkpoint', () => {
  // A history of puts and deletes by several writers; a scan that takes its time; journals read in any order, some from before it.
  const change = fc.record({
    key: fc.constantFrom('a', 'b', 'c', 'd', 'e'),
    value: fc.option(fc.nat(255)),
    writer: fc.nat(2),
  });

  test('give what was there at the end, whenever the checkpoint was made', () => {
    fc.assert(
      fc.property(
        fc.array(change, { maxLength: 40 }),
        fc.nat(40),
        fc.array(fc.nat(40), { minLength: 5, maxLength: 5 }),
        fc.nat(2),
        (history, markAt, delays, dropped) => {
          const from = Math.min(markAt, history.length);
          const now = new Map<string, { revision: number; value: number }>();
          const base: [string, number, number][] = [];
          const scan = (at: number) => {
            for (const [i, key] of ['a', 'b', 'c', 'd', 'e'].entries()) {
              if (Math.min(from + delays[i]!, history.length) !== at) continue;
              const row = now.get(key);
              if (row !== undefined) base.push([key, row.revision, row.value]);
            }
          };
          const journals: { revision: number; key: string; value: number | null }[][] = [[], [], []];
          for (const [i, { key, value, writer }] of history.entries()) {
            if (i >= from) scan(i);
            const revision = i + 1;
            if (value === null) now.delete(key);
            else now.set(key, { revision, value });
            journals[writer]!.push({ revision, key, value });
          }
          scan(history.length);
          // One writer's journal of before the mark is let go.
          const kept = journals.map((one, i) => (i === dropped ? one.filter((r) => r.revision > from) : one));
          // Revisions are above 0; the mark takes one of its own between two changes.
          const merged = new Merged(from === 0 ? 0 : from + 0.5);
          for (const one of [...kept].reverse()) {
            for (const { revision, key, value } of one) {
              merged.add({
                revision,
                puts: value === null ? [] : [[key, bytes(value)]],
                deletes: value === null ? [key] : [],
              });
            }
          }
          const found = new Map<string, number>();
          for (const [key, revision, value] of base) if (merged.keeps(key, revision)) found.set(key, value);
          for (const [key, { value }] of merged.latest) if (value !== null) found.set(key, value[0]!);
          expect([...found].sort()).toEqual([...now].map(([key, { value }]) => [key, value]).sort());
        },
      ),
      { numRuns: process.env.RAWSTOR_TEST_LONG === '1' ? 20_000 : 500 },
    );
  });

  test('a checkpoint is due when a recovery is confirmed', () => {
    const old = firstRevision(1) + 5;
    const rows = [{ kind: 'journal', objectId: 'x', revision: old, bytes: 10 }] as const;
    expect(isDue(rows, 1)).toBe(false);
    expect(isDue(rows, 2)).toBe(true);
    expect(isDue([{ ...rows[0], revision: firstRevision(2) + 5 }], 2)).toBe(false);
    expect(isDue([{ ...rows[0], revision: null }], 2)).toBe(false);
  });

  test('a checkpoint is due when journals outgrow the last one, or are many', () => {
    const row = (kind: JournalRow['kind'], size: number): JournalRow => ({
      kind,
      objectId: 'x',
      revision: 1,
      bytes: size,
    });
    expect(isDue([row('journal', 7 * MiB)])).toBe(false);
    expect(isDue([row('journal', 7 * MiB), row('journal', 2 * MiB)])).toBe(true);
    expect(isDue([row('journal', 9 * MiB), row('checkpoint', 10 * MiB)])).toBe(false);
    expect(isDue([row('journal', 11 * MiB), row('checkpoint', 10 * MiB)])).toBe(true);
    expect(isDue(Array.from({ length: 33 }, () => row('journal', 0)))).toBe(true);
  });
});
