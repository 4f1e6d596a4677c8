import { RawstorError } from '../../common/errors.js';
import { KiB } from '../../common/units.js';
import type { Memory, SliceList } from '../../io/memory.js';
import { loadNative, type NativeHandle } from '../../native/index.js';

/** What is ciphered by itself, with its number in the volume. */
export const CIPHER_SECTOR_BYTES = 512;
export const DATA_KEY_BYTES = 64;
/** Up to so much in one go on this thread: going to another costs more. */
const INLINE_BYTES = 64 * KiB;

type Native = ReturnType<typeof loadNative>;

/** AES-256-XTS with one key. Memory is named by address: it is of a mapping, not of the heap. */
export class XtsCipher {
  private readonly native: Native = loadNative();
  private readonly handle: NativeHandle;

  /** @param key 64 bytes, not needed any more after. @throws RawstorError INVALID */
  constructor(key: Uint8Array) {
    const handle = this.native.xtsCreate(key);
    if (typeof handle === 'number') throw new RawstorError('INVALID', 'this is no key for AES-256-XTS');
    this.handle = handle;
  }

  /**
   * From one memory to another, or in place. Whole sectors.
   * @param offset of the first byte in the volume
   * @param done called once, before this returns where that is quick; null for success
   */
  run(
    sealing: boolean,
    from: number,
    to: number,
    lengthBytes: number,
    offset: number,
    done: (error: RawstorError | null) => void,
  ): void {
    const sectors = lengthBytes / CIPHER_SECTOR_BYTES;
    const first = offset / CIPHER_SECTOR_BYTES;
    const { native, handle } = this;
    if (lengthBytes <= INLINE_BYTES) done(outcome(native.xtsRun(handle, sealing, from, to, sectors, first)));
    else native.xtsRunLater(handle, sealing, from, to, sectors, first, (good) => done(outcome(good)));
  }
}

function outcome(good: boolean): RawstorError | null {
  return good ? null : new RawstorError('INTERNAL', 'the cipher did not do what it was told');
}

/** Whether each piece of a list is of whole sectors, and can be named by its address. */
export function isCipherable({ count, length, memory }: SliceList): boolean {
  for (let i = 0; i < count; i++) {
    if (length[i]! % CIPHER_SECTOR_BYTES !== 0 || memory[i]!.address === 0) return false;
  }
  return true;
}

export const addressOf = (memory: Memory, offset: number): number => memory.address + offset;
