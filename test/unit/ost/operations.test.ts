import fc from 'fast-check';
import { expect, test } from 'vitest';
import { KiB, MiB } from '../../../src/common/units.js';
import { Opcode } from '../../../src/protocol/index.js';
import { objectRecord, openIo, start, temporaryDirectory, Writer } from './support.js';

const CHUNK_BYTES = MiB;
const CHUNKS = 4;
const SIZE_BYTES = CHUNKS * CHUNK_BYTES - 1536;
const REGION = 0;
/** As few as possible: chunk files and pages of epochs come and go with every other operation. */
const TIGHT = { openFiles: 2, regionPages: 1, writebackBytes: 64 * KiB, dirtyLimitBytes: 128 * KiB };
const LONG = process.env.RAWSTOR_TEST_LONG === '1';

const record = (number: number) =>
  objectRecord(number, { sizeBytes: SIZE_BYTES, chunkSizeBytes: CHUNK_BYTES });

const range = fc
  .tuple(fc.nat(CHUNKS - 1), fc.nat(CHUNK_BYTES / 512 - 1), fc.integer({ min: 1, max: 512 }))
  .map(([chunk, from, sectors]) => {
    const offset = from * 512;
    const room = Math.min(CHUNK_BYTES, SIZE_BYTES - chunk * CHUNK_BYTES) - offset;
    return { chunk, offset, length: Math.min(sectors * 512, room) };
  })
  .filter(({ length }) => length > 0);
const object = fc.nat(1);
const step = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({ kind: fc.constant('write' as const), object, range, fill: fc.nat(255) }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constantFrom('zero', 'erase'), object, range }) },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant('read' as const), object, range }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constantFrom('flush', 'seal', 'delete'), object }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constantFrom('restart') }) },
);
type Step = {
  kind: string;
  object?: number;
  range?: { chunk: number; offset: number; length: number };
  fill?: number;
};

/** What an OST should hold of one object. */
class Model {
  bytes = Buffer.alloc(SIZE_BYTES);
  epochs = new Map<string, number>();
  epoch = 1;
  number: number;
  constructor(number: number) {
    this.number = number;
  }

  /** Never less than the tag of the last change; a seal may have marked it for the present one. */
  expectEpoch(region: string, found: number): void {
    const epoch = this.epochs.get(region) ?? 0;
    expect(found).toBeGreaterThanOrEqual(epoch);
    expect(found).toBeLessThanOrEqual(epoch === 0 ? 0 : this.epoch);
  }
}

test('two objects of two clients are what a model says, through restarts and removals', {
  timeout: 300_000,
}, async () => {
  const io = openIo();
  const dir = temporaryDirectory();
  let ost = await start(io, dir, { tuning: TIGHT });
  let nextObject = 1;
  const property = fc.asyncProperty(
    fc.array(step, { minLength: 20, maxLength: 60 }),
    async (steps: Step[]) => {
      const models = [new Model(nextObject++), new Model(nextObject++)];
      let writers: Writer[] = [];
      const attachAll = async () => {
        for (const writer of writers) writer.peer.destroy();
        writers = [];
        for (const model of models) {
          model.epoch++;
          writers.push(await Writer.attach(io, ost.addresses[0]!, record(model.number), model.epoch));
        }
      };
      await attachAll();
      for (const { kind, object: index = 0, range: at, fill = 0 } of steps) {
        const model = models[index]!;
        const writer = writers[index]!;
        if (kind === 'restart') {
          await ost.close();
          ost = await start(io, dir, { tuning: TIGHT });
          await attachAll();
        } else if (kind === 'delete') {
          await writer.call('ost.deleteObject', { objectId: record(model.number).id });
          expect((await writer.flush()).status).toBe('STALE_SESSION');
          models[index] = new Model(nextObject++);
          await attachAll();
        } else if (kind === 'seal') {
          const set = { epoch: model.epoch, members: [] };
          await writer.call('ost.storeSet', { handle: writer.handle, set, lastSeal: model.epoch - 1 });
        } else if (kind === 'flush') {
          expect((await writer.flush()).status).toBe('OK');
        } else if (kind === 'read') {
          const got = await writer.read(at!.chunk, at!.offset, at!.length);
          const from = at!.chunk * CHUNK_BYTES + at!.offset;
          expect(got.status).toBe('OK');
          expect(got.bytes.equals(model.bytes.subarray(from, from + at!.length))).toBe(true);
          model.expectEpoch(`${at!.chunk}/${REGION}`, got.tag);
        } else {
          const from = at!.chunk * CHUNK_BYTES + at!.offset;
          model.bytes.fill(kind === 'write' ? fill : 0, from, from + at!.length);
          model.epochs.set(`${at!.chunk}/${REGION}`, model.epoch);
          const done =
            kind === 'write'
              ? await writer.write(at!.chunk, at!.offset, Buffer.alloc(at!.length, fill), {
                  fua: fill % 4 === 0,
                })
              : await writer.erase(
                  at!.chunk,
                  at!.offset,
                  at!.length,
                  kind === 'zero' ? Opcode.ZERO : Opcode.ERASE,
                );
          expect(done.status).toBe('OK');
        }
      }
      for (const [index, model] of models.entries()) {
        const regions = await writers[index]!.regions();
        expect([...regions.keys()].sort()).toEqual([...model.epochs.keys()].sort());
        for (const [region, epoch] of regions) model.expectEpoch(region, epoch);
        for (let chunk = 0; chunk < CHUNKS; chunk++) {
          const length = Math.min(CHUNK_BYTES, SIZE_BYTES - chunk * CHUNK_BYTES);
          const got = await writers[index]!.read(chunk, 0, length);
          const from = chunk * CHUNK_BYTES;
          expect(got.bytes.equals(model.bytes.subarray(from, from + length)), `chunk ${chunk}`).toBe(true);
        }
      }
      for (const writer of writers) writer.peer.destroy();
    },
  );
  await fc.assert(property, { numRuns: LONG ? 1000 : 15, interruptAfterTimeLimit: LONG ? 280_000 : 10_000 });
});

test('ranges that are not in the object, and operations that say nothing, are refused', async () => {
  const io = openIo();
  const ost = await start(io, temporaryDirectory());
  const writer = await Writer.attach(io, ost.addresses[0]!, record(1), 5);
  const sector = Buffer.alloc(512, 1);
  expect((await writer.write(CHUNKS, 0, sector)).status).toBe('INVALID');
  expect((await writer.write(0, CHUNK_BYTES - 256, sector)).status).toBe('INVALID');
  expect((await writer.write(CHUNKS - 1, CHUNK_BYTES - 1536, sector)).status).toBe('INVALID');
  expect((await writer.write(0, 0, sector, { chunkVersion: 2 })).status).toBe('INVALID');
  expect((await writer.write(0, 0, sector, { tag: 0 })).status).toBe('INVALID');
  expect((await writer.read(0, 0, 2 * MiB)).status).toBe('INVALID');
  expect((await writer.run({ opcode: 99 }, null)).status).toBe('NOT_SUPPORTED');
  expect((await writer.read(0, 0, 512, { handle: 77 })).status).toBe('STALE_SESSION');
  expect((await writer.read(0, 0, 512, { sessionNumber: 9 })).status).toBe('STALE_SESSION');
  expect(await writer.regions()).toEqual(new Map());
  expect((await writer.read(0, 0, 512)).bytes.equals(Buffer.alloc(512))).toBe(true);
});

test('operations of many clients at once do not mix', async () => {
  const io = openIo();
  const ost = await start(io, temporaryDirectory(), { tuning: TIGHT });
  const writers = await Promise.all(
    [1, 2, 3, 4].map((number) => Writer.attach(io, ost.addresses[0]!, record(number), number + 1)),
  );
  const writes = writers.flatMap((writer, at) =>
    Array.from({ length: 64 }, (_, i) =>
      writer.write(i % CHUNKS, (i >> 2) * 4096, Buffer.alloc(4096, 64 * at + i)),
    ),
  );
  for (const done of await Promise.all(writes)) expect(done.status).toBe('OK');
  for (const [at, writer] of writers.entries()) {
    const reads = await Promise.all(
      Array.from({ length: 64 }, (_, i) => writer.read(i % CHUNKS, (i >> 2) * 4096, 4096)),
    );
    for (const [i, got] of reads.entries())
      expect(got.bytes.equals(Buffer.alloc(4096, 64 * at + i))).toBe(true);
  }
});
