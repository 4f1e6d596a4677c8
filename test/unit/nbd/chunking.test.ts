import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { KiB, MiB } from '../../../src/common/units.js';
import { RawNbd, request } from '../../fixtures/nbd-client.js';
import { Rig } from './rig.js';

const SIZE_BYTES = 2 * MiB;

let rig: Rig;
beforeAll(async () => {
  rig = await Rig.start({ device: { sizeBytes: SIZE_BYTES }, server: { limits: { pieceBytes: 64 * KiB } } });
});
afterAll(() => rig.stop());

interface Step {
  kind: 'write' | 'read' | 'zero' | 'trim' | 'flush';
  block: number;
  blocks: number;
  fill: number;
}

const step: fc.Arbitrary<Step> = fc.record({
  kind: fc.constantFrom('write', 'write', 'read', 'read', 'zero', 'trim', 'flush'),
  block: fc.integer({ min: 0, max: 4095 }),
  blocks: fc.oneof(fc.integer({ min: 1, max: 16 }), fc.integer({ min: 1, max: 1500 })),
  fill: fc.integer({ min: 1, max: 255 }),
});

/**
 * The memory device takes effect in the order of submission, so that a pipeline of requests has one right
 * outcome, as long as no read is cut in pieces.
 */
test('any pipeline, however it is cut on the way, answers as a plain buffer would', async () => {
  const structuredClient = await RawNbd.open(rig.address, { structured: true });
  const simpleClient = await RawNbd.open(rig.address);
  const model = Buffer.alloc(SIZE_BYTES);
  await fc.assert(
    fc.asyncProperty(
      fc.array(step, { minLength: 1, maxLength: 12 }),
      fc.array(fc.integer({ min: 1, max: 100_000 }), { minLength: 1, maxLength: 10 }),
      fc.boolean(),
      async (steps, cuts, structured) => {
        const client = structured ? structuredClient : simpleClient;
        const parts: Buffer[] = [];
        const expected = new Map<number, Buffer>();
        steps.forEach(({ kind, block, blocks, fill }, cookie) => {
          const offset = block * 512;
          const most = kind === 'read' ? 64 * KiB : SIZE_BYTES;
          const length = Math.min(blocks * 512, SIZE_BYTES - offset, most);
          if (kind === 'write') {
            parts.push(request(1, offset, length, { cookie }), Buffer.alloc(length, fill));
            model.fill(fill, offset, offset + length);
          } else if (kind === 'read') {
            parts.push(request(0, offset, length, { cookie }));
            expected.set(cookie, Buffer.from(model.subarray(offset, offset + length)));
          } else if (kind === 'flush') {
            parts.push(request(3, 0, 0, { cookie }));
          } else {
            parts.push(request(kind === 'zero' ? 6 : 4, offset, length, { cookie }));
            model.fill(0, offset, offset + length);
          }
        });
        const all = Buffer.concat(parts);
        for (let at = 0, i = 0; at < all.length; i++) {
          const next = at + cuts[i % cuts.length]!;
          client.socket.write(all.subarray(at, next));
          if (i < 200) await new Promise(setImmediate);
          at = next;
        }
        for (let i = 0; i < steps.length; i++) {
          const head = await client.read(16);
          const isChunk = head.readUInt32BE(0) === 0x668e33ef;
          const cookie = Number(head.readBigUInt64BE(8));
          const data = expected.get(cookie);
          expect(isChunk).toBe(structured && data !== undefined);
          if (isChunk) {
            expect(head.readUInt16BE(4)).toBe(1);
            expect((await client.read(4)).readUInt32BE(0)).toBe(8 + data!.length);
            expect(Number((await client.read(8)).readBigUInt64BE(0))).toBe(steps[cookie]!.block * 512);
          } else expect(head.readUInt32BE(4)).toBe(0);
          if (data !== undefined) expect((await client.read(data.length)).equals(data)).toBe(true);
          expected.delete(cookie);
        }
        expect(expected.size).toBe(0);
      },
    ),
    { numRuns: 150 },
  );
  structuredClient.destroy();
  simpleClient.destroy();
});
