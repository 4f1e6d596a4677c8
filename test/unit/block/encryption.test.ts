import { createCipheriv, randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { afterAll, expect, test } from 'vitest';
import { BlockOp, BlockRequest } from '../../../src/block/device.js';
import { CipheredRequests, XtsCipher } from '../../../src/block/encryption/index.js';
import { MemoryDevice } from '../../../src/block/memory.js';
import type { RawstorError } from '../../../src/common/errors.js';
import { KiB, MiB } from '../../../src/common/units.js';
import { createIo, mapAnonymous } from '../../../src/io/index.js';

/** AES-256-XTS, and the requests of an encrypted volume over a plain device. */

const io = createIo({ poolBytes: 16 * MiB });
const memory = mapAnonymous(8 * MiB);
afterAll(() => io.close());

const SECTOR = 512;
const hex = (text: string) => Buffer.from(text.replaceAll(/\s/g, ''), 'hex');

function run(cipher: XtsCipher, sealing: boolean, bytes: Buffer, sector: number): Promise<Buffer> {
  memory.bytes.set(bytes, 0);
  return new Promise((resolve, reject) => {
    const { address } = memory;
    cipher.run(sealing, address, address + 4 * MiB, bytes.length, sector * SECTOR, (error) => {
      if (error !== null) reject(error);
      else resolve(Buffer.from(memory.bytes.subarray(4 * MiB, 4 * MiB + bytes.length)));
    });
  });
}

// IEEE 1619-2007, annex B, vectors 10 to 14: XTS-AES-256 over data units of 512 bytes, number little endian.
const KEY = hex(
  '2718281828459045235360287471352662497757247093699959574966967627' +
    '3141592653589793238462643383279502884197169399375105820974944592',
);
const PLAIN = Buffer.from(Array.from({ length: SECTOR }, (_, i) => i & 0xff));
test.each([
  [0xff, '1c3b3a102f770386e4836c99e370cf9bea00803f5e482357a4ae12d414a3e63b'],
  [0xffff, '77a31251618a15e6b92d1d66dffe7b50b50bad552305ba0217a610688eff7e11'],
  [0xffffff, 'e387aaa58ba483afa7e8eb469778317ecf4cf573aa9d4eac23f2cdf914e4e200'],
  [0xffffffff, 'bf53d2dade78e822a4d949a9bc6766b01b06a8ef70d26748c6a7fc36d80ae4c5'],
  [0xffffffffff, '64497e5a831e4a932c09be3e5393376daa599548b816031d224bbf50a818ed23'],
])('known answer of IEEE 1619, data unit %i', async (sector, start) => {
  const cipher = new XtsCipher(KEY);
  const sealed = await run(cipher, true, PLAIN, sector);
  expect(sealed.subarray(0, 32).toString('hex')).toBe(start);
  expect(sealed.equals(reference(KEY, PLAIN, sector))).toBe(true);
  expect((await run(cipher, false, sealed, sector)).equals(PLAIN)).toBe(true);
});

/** XTS by its definition, from AES alone. */
function reference(key: Buffer, plain: Buffer, sector: number): Buffer {
  const aes = (half: Buffer, block: Buffer) => {
    const cipher = createCipheriv('aes-256-ecb', half, null).setAutoPadding(false);
    return Buffer.concat([cipher.update(block), cipher.final()]);
  };
  const tweak = Buffer.alloc(16);
  tweak.writeBigUInt64LE(BigInt(sector));
  let t = aes(key.subarray(32), tweak);
  const out: Buffer[] = [];
  const xor = (a: Buffer, b: Buffer) => Buffer.from(a.map((byte, i) => byte ^ b[i]!));
  for (let at = 0; at < plain.length; at += 16) {
    out.push(xor(aes(key.subarray(0, 32), xor(plain.subarray(at, at + 16), t)), t));
    const next = Buffer.alloc(16);
    for (let i = 0; i < 16; i++) next[i] = ((t[i]! << 1) & 0xff) | (i === 0 ? 0 : t[i - 1]! >> 7);
    if (t[15]! >> 7 === 1) next[0]! ^= 0x87;
    t = next;
  }
  return Buffer.concat(out);
}

test('any key, any place, any length, quick and on another thread: as by the definition, sector by sector', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.nat(2 ** 31),
      fc.constantFrom(1, 2, 7, 200),
      fc.uint8Array({ minLength: 64, maxLength: 64 }),
      async (sector, sectors, bytes) => {
        const key = Buffer.from(bytes);
        if (key.subarray(0, 32).equals(key.subarray(32))) key[0]! ^= 1;
        const cipher = new XtsCipher(key);
        const plain = randomBytes(sectors * SECTOR);
        const sealed = await run(cipher, true, plain, sector);
        const at = sectors - 1;
        const last = plain.subarray(at * SECTOR, sectors * SECTOR);
        expect(sealed.subarray(at * SECTOR).equals(reference(key, last, sector + at))).toBe(true);
        expect((await run(cipher, false, sealed, sector)).equals(plain)).toBe(true);
      },
    ),
    { numRuns: 30 },
  );
});

test('a key whose halves are the same is none', () => {
  expect(() => new XtsCipher(Buffer.alloc(64, 7))).toThrow(/no key/);
  expect(() => new XtsCipher(Buffer.alloc(32, 7))).toThrow(/no key/);
});

// --- requests

const SIZE = 256 * KiB;

/** Pieces of the lengths, one behind the other in the memory from `at` on. */
function submit(
  device: { submit(request: BlockRequest): void },
  op: BlockOp,
  offset: number,
  length: number,
  at: number,
  cuts: readonly number[],
): Promise<RawstorError | null> {
  return new Promise((resolve) => {
    const request = new BlockRequest({ blockDone: (_request, error) => resolve(error) });
    request.op = op;
    request.offset = offset;
    request.length = length;
    if (op === BlockOp.READ || op === BlockOp.WRITE) {
      let done = 0;
      for (const cut of cuts) {
        const size = Math.min(cut, length - done);
        if (size > 0) request.slices.add(memory, at + done, size);
        done += size;
      }
      if (done < length) request.slices.add(memory, at + done, length - done);
    }
    device.submit(request);
  });
}

const step = fc.record({
  op: fc.constantFrom(BlockOp.READ, BlockOp.WRITE, BlockOp.WRITE, BlockOp.WRITE_ZEROES, BlockOp.DISCARD),
  sector: fc.nat(SIZE / SECTOR - 1),
  sectors: fc.oneof(fc.integer({ min: 1, max: 16 }), fc.integer({ min: 120, max: 400 })),
  cuts: fc.array(fc.constantFrom(512, 1024, 4096, 100, 511, 77), { maxLength: 6 }),
  byte: fc.integer({ min: 1, max: 255 }),
});

test('an encrypted device is a device: what was written is read, zeros are zeros, whatever the pieces; below it is another', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 40 }), async (steps) => {
      const below = new MemoryDevice(io, { sizeBytes: SIZE });
      const device = new CipheredRequests(new XtsCipher(randomBytes(64)), below);
      const expected = Buffer.alloc(SIZE);
      for (const { op, sector, sectors, cuts, byte } of steps) {
        const offset = sector * SECTOR;
        const length = Math.min(sectors * SECTOR, SIZE - offset);
        if (op === BlockOp.WRITE) {
          memory.bytes.fill(byte, MiB, MiB + length);
          expected.fill(byte, offset, offset + length);
        } else if (op !== BlockOp.READ) expected.fill(0, offset, offset + length);
        expect(await submit(device, op, offset, length, MiB, cuts)).toBeNull();
        if (op === BlockOp.WRITE) {
          // The writer's memory is as it was.
          expect(memory.bytes.subarray(MiB, MiB + length).every((one) => one === byte)).toBe(true);
          await submit(below, BlockOp.READ, offset, length, 2 * MiB, []);
          const run = Buffer.alloc(16, byte);
          expect(memory.bytes.subarray(2 * MiB, 2 * MiB + length).includes(run)).toBe(false);
        } else if (op === BlockOp.READ) {
          const read = memory.bytes.subarray(MiB, MiB + length);
          expect(read.equals(expected.subarray(offset, offset + length))).toBe(true);
        }
      }
      expect(await submit(device, BlockOp.READ, 0, SIZE, MiB, [])).toBeNull();
      expect(memory.bytes.subarray(MiB, MiB + SIZE).equals(expected)).toBe(true);
    }),
    { numRuns: process.env.RAWSTOR_TEST_LONG === '1' ? 2000 : 60 },
  );
});

test('the same bytes at two places, or under two keys, are not the same below', async () => {
  const below = new MemoryDevice(io, { sizeBytes: SIZE });
  const device = new CipheredRequests(new XtsCipher(randomBytes(64)), below);
  memory.bytes.fill(9, MiB, MiB + 1024);
  await submit(device, BlockOp.WRITE, 0, 1024, MiB, []);
  const other = new CipheredRequests(new XtsCipher(randomBytes(64)), below);
  await submit(other, BlockOp.WRITE, 64 * KiB, 512, MiB, []);
  await submit(below, BlockOp.READ, 0, 1024, 2 * MiB, []);
  await submit(below, BlockOp.READ, 64 * KiB, 512, 3 * MiB, []);
  const seen = [2 * MiB, 2 * MiB + 512, 3 * MiB].map((at) =>
    memory.bytes.subarray(at, at + 512).toString('hex'),
  );
  expect(new Set(seen).size).toBe(3);
});

test('more than its memory holds waits its turn, and all are done', async () => {
  const below = new MemoryDevice(io, { sizeBytes: 64 * MiB });
  const device = new CipheredRequests(new XtsCipher(randomBytes(64)), below);
  memory.bytes.fill(3, 0, MiB);
  const writes = Array.from({ length: 60 }, (_, i) => submit(device, BlockOp.WRITE, i * MiB, MiB, 0, []));
  expect(await Promise.all(writes)).toEqual(Array(60).fill(null));
  await device.settled();
  for (const i of [0, 31, 59]) {
    expect(await submit(device, BlockOp.READ, i * MiB, MiB, MiB, [100])).toBeNull();
    expect(memory.bytes.subarray(MiB, 2 * MiB).every((byte) => byte === 3)).toBe(true);
  }
});

test('a volume that gets no answer leaves others of the process their memory', async () => {
  const silent = new CipheredRequests(new XtsCipher(randomBytes(64)), { submit: () => {} });
  memory.bytes.fill(3, 0, MiB);
  for (let i = 0; i < 300; i++) void submit(silent, BlockOp.WRITE, i * 256 * KiB, 256 * KiB, 0, []);
  const below = new MemoryDevice(io, { sizeBytes: SIZE });
  const device = new CipheredRequests(new XtsCipher(randomBytes(64)), below);
  expect(await submit(device, BlockOp.WRITE, 0, 4096, 0, [])).toBeNull();
  await device.settled();
});

test('what fails below fails above, reads and writes', async () => {
  const below = new MemoryDevice(io, { sizeBytes: SIZE, allocatedMaxBytes: 0 });
  const device = new CipheredRequests(new XtsCipher(randomBytes(64)), below);
  expect(await submit(device, BlockOp.WRITE, 0, 4096, 0, [])).toMatchObject({ code: 'NO_SPACE' });
  expect(await submit(device, BlockOp.WRITE, 0, 128 * KiB, 0, [])).toMatchObject({ code: 'NO_SPACE' });
});
