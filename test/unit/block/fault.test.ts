import { afterAll, beforeAll, expect, test } from 'vitest';
import { BlockOp, BlockRequest, CheckedDevice, FaultDevice, MemoryDevice } from '../../../src/block/index.js';
import { systemClock } from '../../../src/common/clock.js';
import { seededRandom } from '../../../src/common/random.js';
import { MiB } from '../../../src/common/units.js';
import { createIo, heapMemory, type Io } from '../../../src/io/index.js';

let io: Io;
beforeAll(() => {
  io = createIo({ poolBytes: 4 * MiB });
});
afterAll(() => io.close());

function make() {
  const context = { io, clock: systemClock, random: seededRandom(1) };
  const fault = new FaultDevice(new CheckedDevice(new MemoryDevice(io, { sizeBytes: MiB })), context);
  return { fault, device: new CheckedDevice(fault) };
}

function run(device: CheckedDevice, op: BlockOp, offset: number): Promise<string> {
  return new Promise((resolve) => {
    const request = new BlockRequest({ blockDone: (_done, error) => resolve(error?.code ?? 'ok') });
    request.op = op;
    request.offset = offset;
    request.length = 512;
    request.slices.add(heapMemory(512), 0, 512);
    device.submit(request);
  });
}

test('fails by operation, range, number and skip, and lets the rest pass', async () => {
  const { fault, device } = make();
  fault.setRules({
    op: BlockOp.WRITE,
    range: { offset: 4096, length: 4096 },
    skip: 1,
    times: 2,
    error: 'IO',
  });
  expect(await run(device, BlockOp.READ, 4096)).toBe('ok');
  expect(await run(device, BlockOp.WRITE, 3584)).toBe('ok');
  expect(await run(device, BlockOp.WRITE, 8192)).toBe('ok');
  expect(await run(device, BlockOp.WRITE, 4096)).toBe('ok');
  expect(await run(device, BlockOp.WRITE, 4096)).toBe('IO');
  expect(await run(device, BlockOp.WRITE, 7680)).toBe('IO');
  expect(await run(device, BlockOp.WRITE, 4096)).toBe('ok');
});

test('holds requests until they are released, and delays others', async () => {
  const { fault, device } = make();
  fault.setRules({ op: BlockOp.READ, hold: true }, { op: BlockOp.WRITE, delayMs: 1, error: 'NO_SPACE' });
  const order: string[] = [];
  const held = run(device, BlockOp.READ, 0).then((result) => order.push(`read ${result}`));
  const late = run(device, BlockOp.WRITE, 0).then((result) => order.push(`write ${result}`));
  await late;
  expect(fault.heldCount).toBe(1);
  fault.release();
  await held;
  expect(order).toEqual(['write NO_SPACE', 'read ok']);
});

test('close answers what is held', async () => {
  const { fault, device } = make();
  fault.setRules({ hold: true });
  const held = run(device, BlockOp.READ, 0);
  await device.close();
  expect(await held).toBe('ok');
});

test('the same seed fails the same requests', async () => {
  const pattern = async () => {
    const { fault, device } = make();
    fault.setRules({ probability: 0.5, error: 'IO' });
    const results: string[] = [];
    for (let i = 0; i < 32; i++) results.push(await run(device, BlockOp.READ, 0));
    return results.join();
  };
  const first = await pattern();
  expect(first).toContain('IO');
  expect(first).toContain('ok');
  expect(await pattern()).toBe(first);
});
