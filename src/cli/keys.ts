import { resolve } from 'node:path';
import { type KeyPlace, KeyRing, newEncryption, readSecret } from '../client/index.js';
import { RawstorError } from '../common/errors.js';
import { type CreateSpec, type Encryption, nameSchema } from '../protocol/index.js';
import type { OptionSpec } from './command.js';

export interface KeyOptions {
  keyFile?: KeyPlace[];
  passphraseFile?: KeyPlace[];
}

/** What opens encrypted volumes: paths only, so that nothing of it is in a list of processes. */
export const KEY_OPTIONS: readonly OptionSpec[] = [
  {
    flags: '--key-file <[volume=]path>',
    help: 'file of at least 32 random bytes that opens encrypted volumes and buckets, or that one; repeatable',
    parse: place('key'),
  },
  {
    flags: '--passphrase-file <[volume=]path>',
    help: 'file with the passphrase that opens encrypted volumes and buckets, or that one; repeatable',
    parse: place('passphrase'),
  },
];

export const NEW_KEY_OPTIONS: readonly OptionSpec[] = [
  { flags: '--new-key-file <path>', help: 'at least 32 random bytes', parse: place('key') },
  { flags: '--new-passphrase-file <path>', help: 'file with the new passphrase', parse: place('passphrase') },
];

export function placesOf({ keyFile = [], passphraseFile = [] }: KeyOptions): KeyPlace[] {
  return [...keyFile, ...passphraseFile];
}

/** Of whatever options a verb has. */
export function keyRing(options: object): KeyRing {
  return new KeyRing(placesOf(options as KeyOptions));
}

/** The same options again, for a process that is started. */
export function keyArguments(options: KeyOptions): string[] {
  return placesOf(options).flatMap(({ volume, kind, path }) => [
    kind === 'key' ? '--key-file' : '--passphrase-file',
    volume === null ? path : `${volume}=${path}`,
  ]);
}

export interface EncryptOptions extends KeyOptions {
  encrypt: boolean;
}

export const ENCRYPT_OPTION: OptionSpec = {
  flags: '--encrypt',
  help: 'the new volume is encrypted by this machine, with a key of its own that --key-file or --passphrase-file opens',
  default: false,
};

/**
 * Of a new volume.
 * @param opensSource whether a key may be for what the volume is made of
 * @throws RawstorError USAGE, INVALID, of the file
 */
export async function encryptionFor(
  options: EncryptOptions,
  opensSource: boolean,
): Promise<Pick<CreateSpec, 'encryption'>> {
  if (!options.encrypt) {
    // Who gives a key believes that the volume will be encrypted.
    if (opensSource || placesOf(options).length === 0) return {};
    throw new RawstorError(
      'USAGE',
      'a key is given, and nothing that it could open: the volume would not be encrypted',
      {
        hint: 'add --encrypt, or leave the key out',
      },
    );
  }
  // Others are for what it is made of.
  const own = placesOf(options).filter(({ volume }) => volume === null);
  const secret = await readSecret(onlyPlace(own, '--encrypt'));
  return { encryption: await newEncryption(secret).finally(() => secret.bytes.fill(0)) };
}

/** Of volumes that are made later, each with the key that will open it by its name. @throws RawstorError USAGE, INVALID, of the file */
export async function encryptionOfNew(
  options: EncryptOptions,
): Promise<((name: string) => Promise<Encryption>) | null> {
  if (!options.encrypt) return null;
  const own = placesOf(options).filter(({ volume }) => volume === null);
  // Now rather than when the first one is made.
  await readSecret(onlyPlace(own, '--encrypt'));
  const ring = keyRing(options);
  return async (name) => newEncryption(await ring.secretOf(name));
}

/** The one that a new volume, or a new wrapping, takes. @throws RawstorError USAGE */
export function onlyPlace(places: readonly KeyPlace[], what: string): KeyPlace {
  const [place, ...others] = places;
  if (place !== undefined && place.volume === null && others.length === 0) return place;
  throw new RawstorError('USAGE', `${what} takes one file with a key, or with a passphrase, and no VOLUME=`, {
    hint: 'make a key: head -c 32 /dev/urandom > PATH',
  });
}

/** Of an option. */
export function place(kind: KeyPlace['kind']) {
  return (text: string, before: unknown): KeyPlace[] => {
    const at = text.indexOf('=');
    const volume = at > 0 && nameSchema.safeParse(text.slice(0, at)).success ? text.slice(0, at) : null;
    const path = resolve(volume === null ? text : text.slice(at + 1));
    return [...((before as KeyPlace[] | undefined) ?? []), { volume, kind, path }];
  };
}
