import { expect, test } from 'vitest';
import { KiB, MiB } from '../../../src/common/units.js';
import { createIo, type Io, type PoolBuffer } from '../../../src/io/index.js';
import { atEnd, objectRecord, openIo, start, temporaryDirectory, until, Writer } from './support.js';

/** All of a pool, given back by the answer. */
function takeAll(io: Io): () => void {
  const taken: PoolBuffer[] = [];
  for (const size of [MiB, 256 * KiB, 64 * KiB, 16 * KiB, 4 * KiB]) {
    for (let buffer = io.pool.acquire(size); buffer !== null; buffer = io.pool.acquire(size)) {
      taken.push(buffer);
    }
  }
  return () => {
    for (const buffer of taken.splice(0)) buffer.release();
  };
}

test('a client whose first operations find no memory sends them when there is some', async () => {
  const ost = await start(openIo(), temporaryDirectory(), { listen: ['tcp://127.0.0.1:0'] });
  const io = createIo({ poolBytes: 8 * MiB });
  atEnd(() => io.close());
  const writer = await Writer.attach(io, ost.addresses[0]!, objectRecord(1), 2);
  const giveBack = takeAll(io);
  const flushes = [writer.flush(), writer.flush()];
  giveBack();
  expect((await Promise.all(flushes)).map((outcome) => outcome.status)).toEqual(['OK', 'OK']);
});

test('an OST whose memory is all in use serves what needs none of it', async () => {
  const io = createIo({ poolBytes: 8 * MiB });
  const ost = await start(io, temporaryDirectory(), { listen: ['tcp://127.0.0.1:0'] });
  const client = openIo();
  const writer = await Writer.attach(client, ost.addresses[0]!, objectRecord(1), 2);
  const giveBack = takeAll(io);
  let refusals = 0;
  io.pool.onRefused = () => refusals++;
  const flushes = Array.from({ length: 3 }, () => writer.flush());
  const erased = writer.erase(0, 0, 64 * KiB);
  await until(() => refusals > 0);
  // The answers leave by way of a few bytes of the pool.
  giveBack();
  expect((await Promise.all([...flushes, erased])).map((outcome) => outcome.status)).toEqual([
    'OK',
    'OK',
    'OK',
    'OK',
  ]);
  writer.peer.destroy();
});
