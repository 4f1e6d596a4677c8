import { RawstorError } from '../../../common/errors.js';
import { RIGHTS, type Right } from '../../../s3-lite/index.js';
import { defineVerb } from '../../command.js';
import { withS3 } from '../../s3-catalog.js';
import { writeS3Env } from '../../s3-env.js';

interface CreateOptions {
  allow?: Record<string, Right>;
  save?: string;
}

const create = defineVerb<CreateOptions>({
  name: 'create',
  summary: 'make an access key',
  description:
    'The secret is printed once, or with --save goes to a file that only its owner reads. Rights are read, write (and read) and ' +
    'admin (and make and remove buckets, and change their settings).',
  arguments: [{ name: 'name', help: 'what it is for' }],
  options: [
    {
      flags: '--allow <bucket=right>',
      help: 'such as images=read or *=write; repeatable; *=admin',
      parse: rights,
    },
    { flags: '--save <path>', help: 'write AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY there' },
  ],
  examples: [
    { command: 'rawstor s3 key create me', what: 'may do all' },
    { command: 'rawstor s3 key create backup --allow backups=write', what: 'one bucket only' },
  ],
  async run(context, [name], { allow = { '*': 'admin' }, save }) {
    if (!/^[\x20-\x7e]{1,64}$/.test(name!)) {
      throw new RawstorError('USAGE', 'a name of a key has 1 to 64 printable characters', { where: name });
    }
    return withS3(context, async ({ keys }) => {
      const row = await keys.create(name!, allow, context.clock.wallMs());
      const { keyId, secret } = row;
      try {
        if (save !== undefined) await writeS3Env(save, row);
      } catch (error) {
        // Nobody would have its secret.
        await keys.remove(keyId);
        throw error;
      }
      const shown = save === undefined ? { keyId, secret } : { keyId, save };
      context.output.one({ name, ...shown, rights: allow }, () => [
        `access key  ${keyId}`,
        save === undefined ? `secret      ${secret}` : `secret      in ${save}`,
      ]);
      return 0;
    });
  },
});

const ls = defineVerb({
  name: 'ls',
  aliases: ['list'],
  summary: 'list access keys, without their secrets',
  examples: [
    { command: 'rawstor s3 key ls', what: 'who may do what' },
    { command: 'rawstor s3 key ls --output jsonl', what: 'for programs' },
  ],
  run: (context) =>
    withS3(context, async ({ keys }) => {
      const rows = (await keys.list()).map(({ keyId, name, createdMs, rights }) => ({
        keyId,
        name,
        createdMs,
        rights,
      }));
      context.output.list(rows, [
        { header: 'ACCESS KEY', cell: (row) => row.keyId },
        { header: 'NAME', cell: (row) => row.name },
        { header: 'CREATED', cell: (row) => new Date(row.createdMs).toISOString() },
        {
          header: 'MAY',
          cell: (row) =>
            Object.entries(row.rights)
              .map(([bucket, right]) => `${bucket}=${right}`)
              .join(' '),
        },
      ]);
      return 0;
    }),
});

const rm = defineVerb({
  name: 'rm',
  summary: 'remove an access key',
  description: 'Gateways take it for some 2 s more.',
  arguments: [{ name: 'access-key', help: 'as `rawstor s3 key ls` lists it' }],
  examples: [
    { command: 'rawstor s3 key rm RSABCDEFGHIJKLMNOPQR', what: 'it opens nothing any more' },
    { command: 'rawstor s3 key rm RSABCDEFGHIJKLMNOPQR --output json', what: 'for programs' },
  ],
  run: (context, [keyId]) =>
    withS3(context, async ({ keys }) => {
      await keys.remove(keyId!);
      context.output.one({ keyId }, () => [`removed ${keyId}`]);
      return 0;
    }),
});

export const key = {
  name: 'key',
  summary: 'access keys of S3',
  verbs: [create, ls, rm],
  examples: [...create.examples.slice(0, 1), ...ls.examples.slice(0, 1)],
};

function rights(text: string, before: unknown): Record<string, Right> {
  const [bucket = '', right = ''] = text.split('=');
  const known = RIGHTS.find((one) => one === right);
  if (bucket === '' || known === undefined) {
    throw new RawstorError('USAGE', `'${text}' is not BUCKET=RIGHT`, {
      hint: `a right is ${RIGHTS.join(', ')}`,
    });
  }
  return { ...((before as Record<string, Right> | undefined) ?? {}), [bucket]: known };
}
