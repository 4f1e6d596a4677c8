import {
  BucketKeys,
  COMPRESSIONS,
  type Compression,
  checkCompression,
  type KeyPlace,
  newBucketEncryption,
  readSecret,
  wrapBucketKey,
} from '../../../client/index.js';
import { RawstorError } from '../../../common/errors.js';
import type { BucketEncryption } from '../../../protocol/index.js';
import type { BucketRow } from '../../../s3-lite/index.js';
import { defineVerb } from '../../command.js';
import { KEY_OPTIONS, type KeyOptions, NEW_KEY_OPTIONS, onlyPlace, placesOf } from '../../keys.js';
import { wholeNumber } from '../../options.js';
import { withS3 } from '../../s3-catalog.js';

interface SetOptions extends KeyOptions {
  image?: 'on' | 'off';
  compression?: Compression | 'off';
  encrypt: boolean;
  retentionDays?: number;
}

const set = defineVerb<SetOptions>({
  name: 'set',
  summary: 'change settings of a bucket, made where there is none',
  description:
    'Settings are for what is put from now on. Encryption cannot be taken back: what is in the bucket needs its key, which is kept wrapped, and ' +
    'is opened by --key-file or --passphrase-file here, at gateways (`rawstor serve s3`, `rawstor up`) and at `rawstor s3 verify`.',
  arguments: [{ name: 'bucket', help: 'its name' }],
  options: [
    {
      flags: '--image <on|off>',
      help: 'it lies plain in one piece: volumes are made of it at once',
      choices: ['on', 'off'],
    },
    {
      flags: '--compression <zstd|lz4|off>',
      help: 'by gateways, in frames, where that pays',
      choices: [...COMPRESSIONS, 'off'],
    },
    {
      flags: '--encrypt',
      help: 'by gateways, with a key of the bucket that --key-file or --passphrase-file opens',
      default: false,
    },
    ...KEY_OPTIONS,
    {
      flags: '--retention-days <n>',
      help: 'it is kept at least so long; 0: no longer than wanted',
      parse: wholeNumber(0, 36_500),
    },
  ],
  examples: [
    { command: 'rawstor s3 bucket set images --image on', what: 'for golden images' },
    {
      command:
        'rawstor s3 bucket set backups --compression zstd --encrypt --key-file backups.key --retention-days 30',
      what: 'nobody removes them for a month, and nobody without the key reads them',
    },
  ],
  async run(context, [name], options) {
    const { image, compression, encrypt, retentionDays } = options;
    if (image === undefined && compression === undefined && retentionDays === undefined && !encrypt) {
      throw new RawstorError('USAGE', 'there is nothing to change', {
        hint: 'give --image, --compression, --encrypt or --retention-days',
      });
    }
    if (compression !== undefined && compression !== 'off') checkCompression(compression);
    const secret = encrypt ? await readSecret(onlyPlace(placesOf(options), '--encrypt')) : null;
    const encryption = secret === null ? null : await newBucketEncryption(secret);
    return withS3(context, async ({ buckets }) => {
      const known = await buckets.list();
      if (!known.some((one) => one.name === name)) await buckets.create(name!, '', context.clock.wallMs());
      await buckets.change(name!, (row) => {
        if (encryption !== null && row.encryption != null)
          throw new RawstorError('EXISTS', 'the bucket is encrypted already', {
            where: name,
            hint: 'another key opens it after `rawstor s3 bucket key-change`',
          });
        return checked({
          ...row,
          ...(image === undefined ? {} : { image: image === 'on' }),
          ...(compression === undefined ? {} : { compression: compression === 'off' ? null : compression }),
          ...(encryption === null ? {} : { encryption }),
          ...(retentionDays === undefined ? {} : { retentionDays }),
        });
      });
      const { value } = await buckets.get(name!);
      context.output.one(told(value), () => [
        `${name}: image ${value.image ? 'on' : 'off'}, compression ${value.compression ?? 'off'}, ` +
          `${value.encryption == null ? 'not encrypted' : 'encrypted'}, retention ${value.retentionDays} days`,
      ]);
      return 0;
    });
  },
});

/** @throws RawstorError INVALID */
function checked(row: BucketRow): BucketRow {
  if (!row.image || (row.compression == null && row.encryption == null)) return row;
  throw new RawstorError(
    'INVALID',
    'an image is neither compressed nor encrypted: it is the parent of volumes as it lies',
    {
      where: row.name,
      hint: 'make another bucket; `rawstor-volume create --from` copies what is compressed or encrypted',
    },
  );
}

/** Without what opens it, wrapped as it is. */
const told = ({ encryption, compression, ...row }: BucketRow) => ({
  ...row,
  compression: compression ?? null,
  encrypted: encryption != null,
});

interface ChangeOptions extends KeyOptions {
  newKeyFile?: KeyPlace[];
  newPassphraseFile?: KeyPlace[];
}

const keyChange = defineVerb<ChangeOptions>({
  name: 'key-change',
  summary: 'open an encrypted bucket by another key or passphrase from now on',
  description:
    "The bucket's key is wrapped anew; content is not touched. Gateways refuse the bucket until the file that they were told of is the new one; they read " +
    'it again by themselves. Somebody who had both an old key and an old copy of the metadata can still open the content.',
  arguments: [{ name: 'bucket', help: 'its name' }],
  options: [...KEY_OPTIONS, ...NEW_KEY_OPTIONS],
  examples: [
    {
      command: 'rawstor s3 bucket key-change backups --key-file old.key --new-key-file new.key',
      what: 'the old one opens it no more',
    },
    {
      command: 'rawstor s3 bucket key-change backups --passphrase-file old --new-passphrase-file new',
      what: 'another passphrase',
    },
  ],
  async run(context, [name], { newKeyFile = [], newPassphraseFile = [] }) {
    const next = await readSecret(onlyPlace([...newKeyFile, ...newPassphraseFile], 'a new wrapping'));
    return withS3(context, async ({ buckets }) => {
      const { value } = await buckets.get(name!);
      const before = value.encryption ?? null;
      if (before === null)
        throw new RawstorError('INVALID', 'the bucket is not encrypted: it has no key', { where: name });
      const key = await new BucketKeys(context.keys).keyOf(name!, before);
      const encryption: BucketEncryption = await wrapBucketKey(key, next);
      await buckets.change(name!, (row) => {
        if (row.encryption?.wrapped === before.wrapped) return { ...row, encryption };
        throw new RawstorError('CONFLICT', 'its key was wrapped anew meanwhile', { where: name });
      });
      context.output.one({ name, opens: next.kind }, () => [
        `${name} is opened by the new ${next.kind} from now on`,
      ]);
      return 0;
    });
  },
});

const ls = defineVerb({
  name: 'ls',
  aliases: ['list'],
  summary: 'list buckets and their settings',
  examples: [
    { command: 'rawstor s3 bucket ls', what: 'all of them' },
    { command: 'rawstor s3 bucket ls --output jsonl', what: 'for programs' },
  ],
  run: (context) =>
    withS3(context, async ({ buckets }) => {
      context.output.list((await buckets.list()).map(told), [
        { header: 'BUCKET', cell: (row) => row.name },
        { header: 'CREATED', cell: (row) => new Date(row.createdMs).toISOString() },
        { header: 'IMAGE', cell: (row) => (row.image ? 'on' : 'off') },
        { header: 'COMPRESSION', cell: (row) => row.compression ?? '' },
        { header: 'ENCRYPTED', cell: (row) => (row.encrypted ? 'yes' : '') },
        { header: 'RETENTION', cell: (row) => (row.retentionDays === 0 ? '' : `${row.retentionDays} days`) },
      ]);
      return 0;
    }),
});

export const bucket = {
  name: 'bucket',
  summary: 'settings of buckets that S3 itself has not',
  verbs: [set, keyChange, ls],
  examples: [...set.examples.slice(0, 1), ...ls.examples.slice(0, 1)],
};
