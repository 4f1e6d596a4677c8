import { createHash, randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  type ContentHash,
  ContentHasher,
  HASH_PIECE_BYTES,
  joinedHash,
  verified,
} from '../../../src/client/immutable/content-hash.js';

/** Hashes of contents: the same however the bytes come, and nothing else passes for them. */

const sha = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest();

function hashOf(content: Buffer, cuts: readonly number[] = [], piece = 100): ContentHash {
  const hasher = new ContentHasher(() => piece);
  let at = 0;
  for (const cut of [...cuts, content.length]) {
    hasher.update(content.subarray(at, at + cut));
    at = Math.min(at + cut, content.length);
  }
  return hasher.finish();
}

async function* streamOf(content: Buffer, step: number): AsyncGenerator<Buffer, undefined> {
  for (let at = 0; at < content.length; at += step) yield content.subarray(at, at + step);
}

async function passed(content: Buffer, hash: ContentHash, step: number) {
  const parts: Buffer[] = [];
  let error: unknown = null;
  try {
    for await (const bytes of verified(streamOf(content, step), hash, 'x')) parts.push(bytes);
  } catch (thrown) {
    error = thrown;
  }
  return { bytes: Buffer.concat(parts), error };
}

test('pieces of 8 MiB, a hash for each, and one over those', () => {
  const content = randomBytes(HASH_PIECE_BYTES + 5);
  const hasher = new ContentHasher();
  hasher.update(content);
  const { root, runs, digests } = hasher.finish();
  const wanted = [content.subarray(0, HASH_PIECE_BYTES), content.subarray(HASH_PIECE_BYTES)].map(sha);
  expect(runs).toEqual([
    [1, HASH_PIECE_BYTES],
    [1, 5],
  ]);
  expect(Buffer.concat(wanted).equals(digests!)).toBe(true);
  expect(root).toBe(sha(Buffer.concat(wanted)).toString('base64'));
});

test('however the bytes come, the hash is the same, and the whole passes; parts are joined as they are', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.nat(450), { minLength: 1, maxLength: 5 }),
      fc.array(fc.integer({ min: 1, max: 99 })),
      fc.integer({ min: 1, max: 300 }),
      async (sizes, cuts, step) => {
        const parts = sizes.map((size) => randomBytes(size));
        for (const part of parts) expect(hashOf(part, cuts)).toEqual(hashOf(part));
        const whole = Buffer.concat(parts);
        const joined = joinedHash(parts.map((part) => hashOf(part)))!;
        expect(await passed(whole, joined, step)).toEqual({ bytes: whole, error: null });
        expect(await passed(whole, { ...joined, digests: null }, step)).toEqual({
          bytes: whole,
          error: null,
        });
      },
    ),
  );
});

test('a bit that is another, a byte more or less, a piece in another place: no piece of it passes whole', async () => {
  const content = randomBytes(950);
  const hash = hashOf(content);
  const swapped = Buffer.concat([
    content.subarray(100, 200),
    content.subarray(0, 100),
    content.subarray(200),
  ]);
  for (const changed of [
    ...[0, 99, 100, 555, 949].map((at) => {
      const copy = Buffer.from(content);
      copy[at]! ^= 1;
      return copy;
    }),
    content.subarray(0, 949),
    Buffer.concat([content, Buffer.alloc(1)]),
    swapped,
  ]) {
    for (const digests of [hash.digests, null]) {
      const { bytes, error } = await passed(changed, { ...hash, digests }, 64);
      expect(error).toMatchObject({ code: 'CHECKSUM' });
      const whole = digests === null ? 950 : 100 * Math.ceil(firstDifference(content, changed) / 100 + 0.01);
      if (changed.length === 950) expect(bytes.length).toBeLessThan(Math.min(whole, 950));
    }
  }
});

function firstDifference(a: Buffer, b: Buffer): number {
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return i;
  return a.length;
}

test('with very many pieces only the hash of the whole is kept', async () => {
  const content = randomBytes(5000);
  const hash = hashOf(content, [], 1);
  expect(hash.digests).toBeNull();
  expect(hash.runs).toEqual([[5000, 1]]);
  expect((await passed(content, hash, 700)).error).toBeNull();
  expect(joinedHash([hash, hash])).toBeNull();
  expect(joinedHash([hashOf(content), null])).toBeNull();
});
