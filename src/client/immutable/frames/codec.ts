import { RawstorError } from '../../../common/errors.js';
import { loadNative } from '../../../native/index.js';
import { FRAME_BYTES } from './layout.js';

export const COMPRESSIONS = ['zstd', 'lz4'] as const;
export type Compression = (typeof COMPRESSIONS)[number];

/** How a frame is stored, as its index entry says it; the numbers of the addon too. */
export const METHODS: Readonly<Record<Compression, number>> = { zstd: 1, lz4: 2 };
export const PLAIN_METHOD = 0;
const LEVELS: Readonly<Record<Compression, number>> = { zstd: 3, lz4: 0 };
const PACKAGES: Readonly<Record<Compression, string>> = { zstd: 'libzstd1', lz4: 'liblz4-1' };

/** A frame that shrinks by less than one part of so many is stored as it is. */
const PAYS = 16;

/** @throws RawstorError NOT_SUPPORTED where this machine lacks the library */
export function checkCompression(name: Compression): void {
  if (loadNative().codecHas(METHODS[name])) return;
  throw new RawstorError('NOT_SUPPORTED', `there is no ${name} on this machine`, {
    where: name,
    hint: `install it: apt-get install ${PACKAGES[name]}`,
  });
}

/** What is compressed goes here first: a buffer for each frame would be garbage as fast as it comes. */
const spare: Buffer[] = [];
const SPARE = 16;

/** Off this thread. @param bytes at most a frame. @returns null where it does not pay */
export async function compress(name: Compression, bytes: Uint8Array): Promise<Buffer | null> {
  const most = bytes.length - Math.ceil(bytes.length / PAYS);
  if (most < 1) return null;
  const room = spare.pop() ?? Buffer.allocUnsafeSlow(FRAME_BYTES);
  const length = await run(METHODS[name], true, LEVELS[name], bytes, room.subarray(0, most));
  const found = length < 0 ? null : Buffer.from(room.subarray(0, length));
  if (spare.length < SPARE) spare.push(room);
  return found;
}

/**
 * Off this thread, and never to more than it must be.
 * @param length of what was compressed
 * @returns null for anything that is not exactly so much
 * @throws RawstorError NOT_SUPPORTED where this machine lacks the library
 */
export async function decompress(method: number, bytes: Uint8Array, length: number): Promise<Buffer | null> {
  const name = COMPRESSIONS.find((one) => METHODS[one] === method);
  if (name === undefined) return null;
  checkCompression(name);
  const to = Buffer.allocUnsafeSlow(length);
  return (await run(method, false, 0, bytes, to)) === length ? to : null;
}

function run(
  method: number,
  compressing: boolean,
  level: number,
  from: Uint8Array,
  to: Buffer,
): Promise<number> {
  return new Promise((resolve) => {
    loadNative().codecRunLater(method, compressing, level, from, to, resolve);
  });
}
