import { createCipheriv, createDecipheriv, hkdfSync } from 'node:crypto';
import { TAG_BYTES } from './layout.js';

/** Chosen for each stream, at random; kept in the row that names it, not on the OSTs. */
export const SALT_BYTES = 16;

const CIPHER = 'aes-256-gcm';
const KEY_BYTES = 32;
const PURPOSE = 'rawstor frames, aes-256-gcm';

/**
 * Seals the frames of one stream: AES-256-GCM under a key of the stream's own (HKDF-SHA256 of the bucket's key and its salt), the frame's number as
 * nonce. Bound to it: the length of the stream, the frame's number and how it is compressed. So no frame is taken for another one, of this stream or of
 * any other, and none is missing.
 */
export class FrameSeal {
  private readonly key: Buffer;
  private readonly plainBytes: number;

  constructor(bucketKey: Uint8Array, salt: Uint8Array, plainBytes: number) {
    this.key = Buffer.from(hkdfSync('sha256', bucketKey, salt, PURPOSE, KEY_BYTES));
    this.plainBytes = plainBytes;
  }

  seal(frame: number, method: number, bytes: Uint8Array): Buffer {
    const cipher = createCipheriv(CIPHER, this.key, nonceOf(frame));
    cipher.setAAD(this.bound(frame, method));
    return Buffer.concat([cipher.update(bytes), cipher.final(), cipher.getAuthTag()]);
  }

  /** @returns null for what this has not sealed as that frame */
  open(frame: number, method: number, bytes: Buffer): Buffer | null {
    if (bytes.length < TAG_BYTES) return null;
    const decipher = createDecipheriv(CIPHER, this.key, nonceOf(frame), { authTagLength: TAG_BYTES });
    decipher.setAAD(this.bound(frame, method));
    decipher.setAuthTag(bytes.subarray(-TAG_BYTES));
    const plain = decipher.update(bytes.subarray(0, -TAG_BYTES));
    try {
      decipher.final();
      return plain;
    } catch {
      return null;
    }
  }

  private bound(frame: number, method: number): Buffer {
    const bytes = Buffer.alloc(16);
    bytes.writeBigUInt64LE(BigInt(this.plainBytes), 0);
    bytes.writeUInt32LE(frame, 8);
    bytes.writeUInt32LE(method, 12);
    return bytes;
  }
}

/** Never twice under one key: a stream's key is its own. */
function nonceOf(frame: number): Buffer {
  const nonce = Buffer.alloc(12);
  nonce.writeUInt32LE(frame, 0);
  return nonce;
}
