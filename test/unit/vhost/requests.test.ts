import { afterEach, describe, expect, test } from 'vitest';
import { BlockOp } from '../../../src/block/index.js';
import { GiB } from '../../../src/common/units.js';
import { BlkStatus, BlkType, Feature, Request } from '../../../src/vhost/constants.js';
import { encodeConfig } from '../../../src/vhost/messages.js';
import type { Driver, Part } from '../../fixtures/vhost/driver.js';
import { DEVICE_BYTES, Rig, requestParts } from '../../fixtures/vhost/rig.js';

let rig: Rig;
afterEach(() => rig.close());

const DATA = 2 << 20;

async function perform(driver: Driver, type: number, sector: number, data: readonly Part[] = []) {
  const { front } = driver;
  const { parts, statusAt } = requestParts(front, 0, type, sector, data);
  const id = driver.add(parts);
  driver.kick.signal();
  const used = await driver.used(1);
  expect(used.map((each) => each.id)).toEqual([id]);
  return { status: front.bytes[statusAt]!, length: used[0]!.length };
}

describe.each([
  ['split', false],
  ['packed', true],
])('requests in a %s ring', (_name, packed) => {
  test('what was written is read back, from buffers below and above 4 GiB', async () => {
    rig = new Rig();
    const driver = await rig.queue({ packed });
    const { front } = driver;
    const half = front.sizeBytes / 2;
    for (const [round, at] of [DATA, half + DATA].entries()) {
      front.bytes.fill(round + 1, at, at + 8192);
      const out = [
        { at, length: 512 },
        { at: at + 512, length: 7680 },
      ];
      expect(await perform(driver, BlkType.OUT, 64 * round, out)).toEqual({
        status: BlkStatus.OK,
        length: 1,
      });
      const back = { at: at + 16384, length: 8192, write: true };
      expect(await perform(driver, BlkType.IN, 64 * round, [back])).toEqual({
        status: BlkStatus.OK,
        length: 8193,
      });
      expect(front.bytes.subarray(back.at, back.at + 8192)).toEqual(Buffer.alloc(8192, round + 1));
    }
    expect((await perform(driver, BlkType.FLUSH, 0)).status).toBe(BlkStatus.OK);
  });

  test('a buffer may lie in two of the windows that memory is mapped in', async () => {
    rig = new Rig();
    // A region of a window and a half, below 4 GiB and above.
    const driver = await rig.queue({ packed, memoryBytes: 3 * GiB });
    const { bytes } = driver.front;
    for (const [round, edge] of [GiB, 1.5 * GiB + GiB].entries()) {
      const at = edge - 1000;
      bytes.fill(round + 1, at, at + 8192);
      expect((await perform(driver, BlkType.OUT, 64, [{ at, length: 8192 }])).status).toBe(BlkStatus.OK);
      bytes.fill(0, at, at + 8192);
      const back = { at, length: 8192, write: true };
      expect(await perform(driver, BlkType.IN, 64, [back])).toEqual({ status: BlkStatus.OK, length: 8193 });
      expect(bytes.subarray(at, at + 8192)).toEqual(Buffer.alloc(8192, round + 1));
    }
  });

  test('goes round the ring many times, several at once', async () => {
    rig = new Rig();
    const driver = await rig.queue({ packed, size: 16 });
    const { front } = driver;
    for (let round = 0; round < 200; round++) {
      for (let slot = 0; slot < 5; slot++) {
        const at = DATA + slot * 4096;
        front.bytes.writeUInt32LE(round * 8 + slot, at);
        driver.add(
          requestParts(front, slot, BlkType.OUT, 8 * (round * 5 + slot), [{ at, length: 512 }]).parts,
        );
      }
      driver.kick.signal();
      await driver.used(5);
    }
    const { parts } = requestParts(front, 0, BlkType.IN, 8 * (150 * 5 + 3), [
      { at: DATA, length: 512, write: true },
    ]);
    driver.add(parts);
    driver.kick.signal();
    await driver.used(1);
    expect(front.bytes.readUInt32LE(DATA)).toBe(150 * 8 + 3);
  });

  test('answers what means nothing, and goes on', async () => {
    rig = new Rig();
    const driver = await rig.queue({ packed });
    const { front } = driver;
    const into = { at: DATA, length: 512, write: true };
    const end = DEVICE_BYTES / 512;
    expect((await perform(driver, BlkType.IN, end, [into])).status).toBe(BlkStatus.IOERR);
    expect((await perform(driver, BlkType.IN, 0, [{ ...into, length: 100 }])).status).toBe(BlkStatus.IOERR);
    expect((await perform(driver, BlkType.IN, 2 ** 60, [into])).status).toBe(BlkStatus.IOERR);
    expect((await perform(driver, BlkType.IN, 0)).status).toBe(BlkStatus.IOERR);
    expect((await perform(driver, 77, 0)).status).toBe(BlkStatus.UNSUPP);
    rig.fault.setRules({ op: BlockOp.READ, times: 1, error: 'IO' });
    expect((await perform(driver, BlkType.IN, 0, [into])).status).toBe(BlkStatus.IOERR);
    expect((await perform(driver, BlkType.IN, 0, [into])).status).toBe(BlkStatus.OK);
    expect((await perform(driver, BlkType.GET_ID, 0, [{ at: DATA, length: 20, write: true }])).status).toBe(
      0,
    );
    expect(front.bytes.toString('latin1', DATA, DATA + 4)).toBe('vm1\0');
  });

  test('discards and writes zeroes, segment by segment', async () => {
    rig = new Rig();
    const driver = await rig.queue({ packed });
    const { bytes } = driver.front;
    bytes.fill(7, DATA, DATA + 65536);
    expect((await perform(driver, BlkType.OUT, 0, [{ at: DATA, length: 65536 }])).status).toBe(0);
    const table = (segments: [sector: number, sectors: number, flags: number][]) => {
      for (const [i, [sector, sectors, flags]] of segments.entries()) {
        bytes.writeBigUInt64LE(BigInt(sector), DATA + i * 16);
        bytes.writeUInt32LE(sectors, DATA + i * 16 + 8);
        bytes.writeUInt32LE(flags, DATA + i * 16 + 12);
      }
      return [{ at: DATA, length: segments.length * 16 }];
    };
    const zeroes = (...segments: [number, number, number][]) =>
      perform(driver, BlkType.WRITE_ZEROES, 0, table(segments));
    expect((await zeroes([8, 8, 0], [32, 16, 1])).status).toBe(BlkStatus.OK);
    expect((await zeroes([8, 8, 2])).status).toBe(BlkStatus.UNSUPP);
    expect((await zeroes([DEVICE_BYTES / 512 - 1, 2, 0])).status).toBe(BlkStatus.IOERR);
    expect((await perform(driver, BlkType.DISCARD, 0, table([[64, 8, 1]]))).status).toBe(BlkStatus.UNSUPP);
    expect((await perform(driver, BlkType.DISCARD, 0, table([[64, 8, 0]]))).status).toBe(BlkStatus.OK);
    expect((await perform(driver, BlkType.IN, 0, [{ at: DATA, length: 65536, write: true }])).status).toBe(0);
    const expected = Buffer.alloc(65536, 7);
    for (const [sector, sectors] of [
      [8, 8],
      [32, 16],
      [64, 8],
    ]) {
      expected.fill(0, sector! * 512, (sector! + sectors!) * 512);
    }
    expect(bytes.subarray(DATA, DATA + 65536).equals(expected)).toBe(true);
  });

  test('a stop waits for what was taken, and tells where to go on', async () => {
    rig = new Rig();
    const driver = await rig.queue({ packed });
    rig.fault.setRules({ op: BlockOp.WRITE, hold: true });
    driver.add(requestParts(driver.front, 0, BlkType.OUT, 0, [{ at: DATA, length: 512 }]).parts);
    driver.kick.signal();
    while (rig.fault.heldCount === 0) await new Promise((resolve) => setImmediate(resolve));
    const state = Buffer.alloc(8);
    let stopped = false;
    const stopping = driver.front.call(Request.GET_VRING_BASE, state).then((answer) => {
      stopped = true;
      return answer.payload.readUInt32LE(4);
    });
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(stopped).toBe(false);
    rig.fault.release();
    expect(await stopping).toBe(packed ? 0x8003_8003 : 1);
    expect((await driver.used(1)).length).toBe(1);
  });
});

test('a guest that turns the write cache off has every write durable', async () => {
  rig = new Rig();
  const driver = await rig.queue();
  const seen: number[] = [];
  const submit = rig.fault.submit.bind(rig.fault);
  rig.fault.submit = (request) => {
    seen.push(request.flags);
    submit(request);
  };
  const data = [{ at: DATA, length: 512 }];
  await perform(driver, BlkType.OUT, 0, data);
  driver.front.send(Request.SET_CONFIG, encodeConfig({ offset: 32, bytes: Buffer.from([0]) }));
  await driver.front.u64(Request.GET_QUEUE_NUM);
  await perform(driver, BlkType.OUT, 0, data);
  expect(seen).toEqual([0, 1]);
});

test('without FLUSH every write is durable', async () => {
  rig = new Rig();
  const driver = await rig.queue({ without: [Feature.FLUSH, Feature.EVENT_IDX] });
  let flags = -1;
  const submit = rig.fault.submit.bind(rig.fault);
  rig.fault.submit = (request) => {
    flags = request.flags;
    submit(request);
  };
  await perform(driver, BlkType.OUT, 0, [{ at: DATA, length: 512 }]);
  expect(flags).toBe(1);
});
