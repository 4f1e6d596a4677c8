import { XtsCipher } from '../../block/index.js';
import { RawstorError } from '../../common/errors.js';
import { KiB } from '../../common/units.js';
import type { ObjectInfo } from '../../protocol/object-info.js';
import { readKeyFile } from './key-file.js';
import { type Secret, unwrap } from './wrap.js';

/** Where what opens volumes is. Only paths: what is in the files is read when it is needed, and told to nobody. */
export interface KeyPlace {
  /** Or bucket. Null: every one that no other names. */
  readonly volume: string | null;
  readonly kind: Secret['kind'];
  readonly path: string;
}

/** A key of fewer bytes can be guessed. */
export const KEY_FILE_MIN_BYTES = 32;
const FILE_MAX_BYTES = 64 * KiB;
/** For a program that has to ask somebody first. */
const PIPE_WAIT_MS = 30_000;

/** What opens which volume. */
export class KeyRing {
  private readonly places: readonly KeyPlace[];

  constructor(places: readonly KeyPlace[]) {
    this.places = places;
  }

  /** @returns null for a volume that is not encrypted. @throws RawstorError DENIED, of the file */
  async cipherOf({ name, encryption }: Pick<ObjectInfo, 'name' | 'encryption'>): Promise<XtsCipher | null> {
    if (encryption === undefined) return null;
    const secret = await this.secretOf(name);
    const key = await unwrap(encryption, secret, name).finally(() => secret.bytes.fill(0));
    try {
      return new XtsCipher(key);
    } finally {
      key.fill(0);
    }
  }

  /** @throws RawstorError DENIED where nothing is named for it, of the file */
  async secretOf(name: string, noun: 'volume' | 'bucket' = 'volume'): Promise<Secret> {
    const place =
      this.places.find((one) => one.volume === name) ?? this.places.find((one) => one.volume === null);
    if (place !== undefined) return readSecret(place);
    throw new RawstorError('DENIED', `the ${noun} is encrypted: it takes its key`, {
      where: name,
      hint: `name the file that it is in: --key-file or --passphrase-file [${noun.toUpperCase()}=]PATH`,
    });
  }
}

/** @throws RawstorError INVALID; TIMEOUT of a pipe; of the file */
export async function readSecret(
  { kind, path }: Pick<KeyPlace, 'kind' | 'path'>,
  pipeWaitMs = PIPE_WAIT_MS,
): Promise<Secret> {
  const bytes = await readKeyFile(path, FILE_MAX_BYTES, pipeWaitMs);
  const invalid = (message: string, hint: string) =>
    new RawstorError('INVALID', message, { where: path, hint });
  if (bytes.length > FILE_MAX_BYTES) throw invalid('the file is too long for a key', 'is it the right one?');
  if (kind === 'key') {
    if (bytes.length >= KEY_FILE_MIN_BYTES) return { kind, bytes, from: path };
    throw invalid(
      `a key file has at least ${KEY_FILE_MIN_BYTES} random bytes`,
      `make one: head -c ${KEY_FILE_MIN_BYTES} /dev/urandom > ${path}; words are for --passphrase-file`,
    );
  }
  // As an editor leaves it.
  const end = bytes.at(-1) === 10 ? (bytes.at(-2) === 13 ? 2 : 1) : 0;
  const words = bytes.subarray(0, bytes.length - end);
  if (words.length > 0) return { kind, bytes: words, from: path };
  throw invalid('the passphrase is empty', 'the passphrase is the whole file, without its last line feed');
}
