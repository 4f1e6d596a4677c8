import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, expect, test } from 'vitest';
import { RawstorError } from '../../../src/common/errors.js';
import { KiB } from '../../../src/common/units.js';
import { errnoOf } from '../../../src/fuse/errno.js';
import type { ReadDevice } from '../../../src/fuse/open-file-parts.js';
import type { PoolBuffer } from '../../../src/io/pool.js';
import { Requests } from './requests.js';
import { FileRig } from './rig.js';

let rig: FileRig;
afterEach(() => rig.stop());
const requests = new Requests(() => rig);

/** The file as somebody else reads it: knows what the volume is when it is asked to look. */
function reader(): ReadDevice & { looks: number } {
  const { volume } = rig;
  let { object } = volume;
  return {
    readOnly: true,
    multiConnection: true,
    sizeBytes: volume.sizeBytes,
    limits: volume.limits,
    submit: volume.submit,
    extents: volume.extents,
    close: async () => {},
    looks: 0,
    get object() {
      return object;
    },
    async refresh() {
      this.looks++;
      object = volume.object;
    },
  };
}

test('who reads a file follows it as others make it longer', async () => {
  rig = new FileRig(64 * KiB, { sizeBytes: 1000, modifiedWallMs: 1 });
  const writer = rig.file;
  await writer.open(true);
  await requests.write(0, Buffer.alloc(1000, 1));
  const device = reader();
  rig.reading = () => device;
  rig.file = rig.another();
  await rig.file.open(false);
  expect((await requests.read(0, 1000)).length).toBe(1000);
  // What is known is enough for that.
  expect(device.looks).toBe(0);
  const readers = rig.file;
  rig.file = writer;
  await requests.write(1000, Buffer.alloc(500, 2));
  await writer.sync();
  rig.file = readers;
  expect((await requests.read(900, 4096)).subarray(100)).toEqual(Buffer.alloc(500, 2));
  expect(rig.file.sizeBytes).toBe(1500);
  expect(rig.file.known).toBe(null);
  expect(writer.known).toMatchObject({ sizeBytes: 64 * KiB });
});

test('a read whose device ends under it is done by the next one', async () => {
  rig = new FileRig(64 * KiB, { sizeBytes: 1000, modifiedWallMs: 1 });
  let opens = 0;
  let end: () => void = () => {};
  const gone = new RawstorError('NOT_FOUND', 'its writer is dead');
  rig.reading = (onEnded) => {
    end = onEnded;
    const device = reader();
    if (++opens > 1) return device;
    return {
      ...device,
      submit: (block) => {
        end();
        setImmediate(() => block.owner.blockDone(block, gone));
      },
    };
  };
  await rig.file.open(false);
  expect((await requests.read(0, 1000)).length).toBe(1000);
  expect(opens).toBe(2);
  // Once a request: what ends again and again is told.
  rig.reading = (onEnded) => ({
    ...reader(),
    submit: (block) => {
      onEnded();
      setImmediate(() => block.owner.blockDone(block, gone));
    },
  });
  end();
  await expect(requests.read(0, 10)).rejects.toThrow('its writer is dead');
});

test('what waits for memory while its file is closed, as after an interrupt, ends with an error', async () => {
  rig = new FileRig(64 * KiB, { sizeBytes: 5000, modifiedWallMs: 1 });
  await rig.file.open(true);
  const taken: PoolBuffer[] = [];
  for (const bytes of [1024 * KiB, 64 * KiB, 4 * KiB, 512]) {
    for (let one = rig.io.pool.acquire(bytes); one !== null; one = rig.io.pool.acquire(bytes))
      taken.push(one);
  }
  const outcomes = Promise.allSettled([requests.write(10, Buffer.alloc(10)), requests.read(0, 1000)]);
  await sleep(5);
  await rig.file.close();
  for (const buffer of taken) buffer.release();
  for (const outcome of await outcomes) {
    expect(outcome).toMatchObject({ status: 'rejected', reason: { code: 'UNAVAILABLE' } });
  }
});

test('too long for any volume is EFBIG, and leaves the file as it is', async () => {
  rig = new FileRig(64 * KiB, { sizeBytes: 5000, modifiedWallMs: 1 });
  await rig.file.open(true);
  const errnos = await Promise.all(
    [rig.file.truncate(2 ** 52), requests.write(2 ** 52, Buffer.alloc(10))].map((done) =>
      done.then(() => 0, errnoOf),
    ),
  );
  expect(errnos).toEqual([27, 27]);
  expect(rig.file.sizeBytes).toBe(5000);
});
