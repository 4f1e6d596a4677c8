import { createCipheriv, createDecipheriv, hkdfSync, randomBytes, scrypt } from 'node:crypto';
import { DATA_KEY_BYTES } from '../../block/index.js';
import { RawstorError } from '../../common/errors.js';
import { MiB } from '../../common/units.js';
import type { Encryption, Wrapping } from '../../protocol/encryption.js';

/** What opens a volume, or a bucket: a file of random bytes, or words of a person. */
export interface Secret {
  readonly kind: 'key' | 'passphrase';
  readonly bytes: Buffer;
  /** For messages: where it is from. */
  readonly from: string;
}

/** 64 MiB and some hundred ms a guess. */
const SCRYPT = { name: 'scrypt', cost: 2 ** 16, blockSize: 8, parallel: 1 } as const;
const WRAP_CIPHER = 'aes-256-gcm';
const TAG_BYTES = 16;
const WRAP_KEY_BYTES = 32;
/** What a wrapped key is for. */
export interface WrapUse {
  /** Bound to it: nothing else that the same key wraps is taken for a data key. */
  readonly purpose: Buffer;
  /** For messages. */
  readonly noun: 'volume' | 'bucket';
}

const VOLUME: WrapUse = { purpose: Buffer.from('rawstor volume data key, aes-256-xts'), noun: 'volume' };

/** A data key of its own for a new volume, wrapped. */
export async function newEncryption(secret: Secret): Promise<Encryption> {
  const key = newDataKey();
  try {
    return await wrap(key, secret);
  } finally {
    key.fill(0);
  }
}

/** The halves of a key for XTS are never the same. */
function newDataKey(): Buffer {
  for (;;) {
    const key = randomBytes(DATA_KEY_BYTES);
    if (!key.subarray(0, DATA_KEY_BYTES / 2).equals(key.subarray(DATA_KEY_BYTES / 2))) return key;
  }
}

export async function wrap(dataKey: Uint8Array, secret: Secret): Promise<Encryption> {
  return { cipher: 'aes-256-xts', ...(await wrapFor(VOLUME, dataKey, secret)) };
}

/** @returns the data key; to be wiped by the caller. @throws RawstorError DENIED */
export function unwrap(encryption: Encryption, secret: Secret, volume: string): Promise<Buffer> {
  return unwrapFor(VOLUME, encryption, secret, volume);
}

export async function wrapFor(use: WrapUse, dataKey: Uint8Array, secret: Secret): Promise<Wrapping> {
  const kdf: Wrapping['kdf'] = secret.kind === 'passphrase' ? SCRYPT : { name: 'hkdf-sha256' };
  const [salt, nonce] = [randomBytes(32), randomBytes(12)];
  const key = await wrapKey(kdf, salt, secret, use);
  try {
    const cipher = createCipheriv(WRAP_CIPHER, key, nonce).setAAD(use.purpose);
    const wrapped = Buffer.concat([cipher.update(dataKey), cipher.final(), cipher.getAuthTag()]);
    const base64 = (bytes: Buffer) => bytes.toString('base64');
    return { kdf, salt: base64(salt), nonce: base64(nonce), wrapped: base64(wrapped) };
  } finally {
    key.fill(0);
  }
}

/** @returns the data key; to be wiped by the caller. @throws RawstorError DENIED */
export async function unwrapFor(
  use: WrapUse,
  { kdf, salt, nonce, wrapped }: Wrapping,
  secret: Secret,
  name: string,
): Promise<Buffer> {
  const kind = kdf.name === 'scrypt' ? 'passphrase' : 'key';
  if (kind !== secret.kind)
    throw denied(use, name, `it is opened by a ${kind}, not by a ${secret.kind}`, secret);
  const key = await wrapKey(kdf, Buffer.from(salt, 'base64'), secret, use);
  try {
    const bytes = Buffer.from(wrapped, 'base64');
    const decipher = createDecipheriv(WRAP_CIPHER, key, Buffer.from(nonce, 'base64')).setAAD(use.purpose);
    decipher.setAuthTag(bytes.subarray(-TAG_BYTES));
    const opened = decipher.update(bytes.subarray(0, -TAG_BYTES));
    try {
      // All of it came before: this checks the tag.
      return Buffer.concat([opened, decipher.final()]);
    } finally {
      opened.fill(0);
    }
  } catch {
    throw denied(use, name, `the ${kind} does not open it`, secret);
  } finally {
    key.fill(0);
  }
}

async function wrapKey(
  kdf: Wrapping['kdf'],
  salt: Buffer,
  { bytes }: Secret,
  { purpose, noun }: WrapUse,
): Promise<Buffer> {
  if (kdf.name === 'hkdf-sha256')
    return Buffer.from(hkdfSync('sha256', bytes, salt, purpose, WRAP_KEY_BYTES));
  const { cost, blockSize, parallel } = kdf;
  const options = { N: cost, r: blockSize, p: parallel, maxmem: 128 * cost * blockSize + 64 * MiB };
  return new Promise((resolve, reject) => {
    scrypt(bytes, salt, WRAP_KEY_BYTES, options, (error, key) => {
      if (error === null) resolve(key);
      else
        reject(
          new RawstorError('BAD_DATA', `the ${noun} names parameters that scrypt does not take`, {
            cause: error,
          }),
        );
    });
  });
}

function denied({ noun }: WrapUse, name: string, message: string, { from }: Secret): RawstorError {
  return new RawstorError('DENIED', `the ${noun} is encrypted: ${message}`, {
    where: `${name}, ${from}`,
    hint: `name the file that its key is in: --key-file or --passphrase-file [${noun.toUpperCase()}=]PATH`,
  });
}
