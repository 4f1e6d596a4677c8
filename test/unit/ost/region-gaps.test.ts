import { expect, test } from 'vitest';
import { GiB, KiB, MiB, TiB } from '../../../src/common/units.js';
import { objectRecord, openIo, start, temporaryDirectory, Writer } from './support.js';

/** Large chunks that are written to here and there: regions of whole GiB between have no record, and those behind are listed all the same. */

const block = Buffer.alloc(4 * KiB, 1);

/** Of a chunk, and the offset in it. */
type Places = readonly (readonly [number, number])[];

async function listed(chunkSizeBytes: number, places: Places) {
  const record = objectRecord(1, { sizeBytes: 80 * chunkSizeBytes, chunkSizeBytes });
  const ost = await start(openIo(), temporaryDirectory());
  const writer = await Writer.attach(openIo(), ost.addresses[0]!, record, 5);
  for (const [chunk, offset] of places) await writer.write(chunk, offset, block, { tag: 5 });
  return [...(await writer.regions()).keys()].sort();
}

const keys = (places: Places, regionSizeBytes = 4 * MiB) =>
  places.map(([chunk, offset]) => `${chunk}/${offset / regionSizeBytes}`).sort();

test.each<readonly [string, Places]>([
  [
    'a gap where an answer ends',
    [...Array.from({ length: 64 }, (_, i) => [0, i * GiB] as const), [0, 70 * GiB]],
  ],
  ['only the end', [[0, 900 * GiB]]],
  [
    'wide gaps, in several chunks',
    [0, 1, 3].flatMap((chunk) => [1, 65, 128, 700, 1023].map((i) => [chunk, i * GiB] as const)),
  ],
])('%s', async (_, places) => {
  expect(await listed(TiB, places)).toEqual(keys(places));
});

test('chunks of a few GiB, where an answer ends in one', async () => {
  const places = [
    ...Array.from({ length: 63 }, (_, i) => [i, 0] as const),
    ...[63, 64, 65].flatMap(
      (chunk) =>
        [
          [chunk, 0],
          [chunk, 2 * GiB],
        ] as const,
    ),
    [66, 3 * GiB] as const,
  ];
  expect(await listed(4 * GiB, places)).toEqual(keys(places));
});
