import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { KiB, MiB } from '../../../src/common/units.js';
import { smallDisk } from '../../fixtures/small-disk.js';
import { failure, OstProcess, objectRecord, openIo, start, temporaryDirectory, Writer } from './support.js';

const { path: disk, mounted } = smallDisk('size=24m');

const record = objectRecord(1, { sizeBytes: 64 * MiB, chunkSizeBytes: 64 * MiB });
const STEP_BYTES = 256 * KiB;

// Only root may mount a small disk.
test.runIf(mounted)(
  'a full disk is told to the writer, costs nothing written before, and is no end',
  async () => {
    const io = openIo();
    const dir = join(disk, 'ost');
    mkdirSync(dir);
    const ost = await OstProcess.start(dir);
    const writer = await Writer.attach(io, ost.address, record, 2);
    let written = 0;
    for (let status = 'OK'; ; written++) {
      ({ status } = await writer.write(0, written * STEP_BYTES, Buffer.alloc(STEP_BYTES, written + 1)));
      if (status === 'OK') continue;
      expect(status).toBe('NO_SPACE');
      break;
    }
    expect(written).toBeGreaterThan(40);

    // Now to the last block: the reserve goes too, and neither file nor record can be written.
    const filler = join(disk, 'filler');
    expect(() => writeFileSync(filler, Buffer.alloc(32 * MiB))).toThrow(/ENOSPC/);
    const other = await Writer.connect(io, ost.address);
    for (let number = 10; number < 40; number++) {
      const outcome = await other.attach(objectRecord(number), 2, 1).then(
        () => 'OK',
        (error) => error.code,
      );
      if (outcome === 'OK') continue;
      expect(outcome).toBe('NO_SPACE');
      break;
    }
    await failure('NO_SPACE', other.attach(objectRecord(41), 2, 1));
    expect((await writer.write(0, 60 * MiB, Buffer.alloc(4096, 1))).status).toBe('NO_SPACE');
    // What is there already may be overwritten, and all of it reads as it was written.
    expect((await writer.write(0, 0, Buffer.alloc(STEP_BYTES, 200))).status).toBe('OK');
    const expectAll = async (from: Writer) => {
      for (let i = 0; i < written; i++) {
        const { bytes } = await from.read(0, i * STEP_BYTES, STEP_BYTES);
        expect(bytes.equals(Buffer.alloc(STEP_BYTES, i === 0 ? 200 : i + 1)), `step ${i}`).toBe(true);
      }
    };
    await expectAll(writer);
    expect(ost.alive).toBe(true);

    rmSync(filler);
    await other.attach(objectRecord(41), 2, 1);
    expect((await other.write(0, 0, Buffer.alloc(4096, 9))).status).toBe('OK');
    expect((await writer.flush()).status).toBe('OK');
    await ost.kill();
    const again = await OstProcess.start(dir);
    await expectAll(await Writer.attach(io, again.address, record, 3));
  },
);

test('an artificial limit counts what is there, and removal gives it back', async () => {
  const io = openIo();
  const dir = temporaryDirectory();
  const tuning = { capacityBytes: 2 * MiB };
  let ost = await start(io, dir, { tuning });
  let writer = await Writer.attach(io, ost.addresses[0]!, objectRecord(1), 2);
  const fill = (by: Writer, chunk: number) => by.write(chunk, 0, Buffer.alloc(MiB, 1));
  expect((await fill(writer, 0)).status).toBe('OK');
  await ost.close();
  ost = await start(io, dir, { tuning });
  writer = await Writer.attach(io, ost.addresses[0]!, objectRecord(1), 3);
  expect((await fill(writer, 1)).status).toBe('OK');
  expect((await writer.flush()).status).toBe('OK');
  expect((await fill(writer, 2)).status).toBe('NO_SPACE');
  expect((await fill(writer, 1)).status).toBe('OK');
  await writer.call('ost.deleteObject', { objectId: objectRecord(1).id });
  expect((await writer.call('ost.stat', {})).freeBytes).toBe(2 * MiB);
  writer = await Writer.attach(io, ost.addresses[0]!, objectRecord(2), 2);
  expect((await fill(writer, 0)).status).toBe('OK');
});
