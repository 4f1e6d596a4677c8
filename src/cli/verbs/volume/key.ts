import { type KeyPlace, readSecret, unwrap, wrap } from '../../../client/index.js';
import { RawstorError } from '../../../common/errors.js';
import { defineVerb } from '../../command.js';
import { EXIT } from '../../exit-codes.js';
import { KEY_OPTIONS, NEW_KEY_OPTIONS, onlyPlace } from '../../keys.js';
import { volumeInfo } from '../../volumes.js';

interface Options {
  newKeyFile?: KeyPlace[];
  newPassphraseFile?: KeyPlace[];
}

const change = defineVerb<Options>({
  name: 'change',
  summary: 'open an encrypted volume by another key or passphrase from now on',
  description:
    'The key of the data is wrapped anew; the data is not touched, and whoever has the volume open goes on. Clones are ' +
    'not changed: each is opened as before. Somebody who had both an old key and an old copy of the metadata can still open the ' +
    'data: copy it to a new volume where that matters.',
  arguments: [{ name: 'volume', help: 'name or id' }],
  options: [...KEY_OPTIONS, ...NEW_KEY_OPTIONS],
  examples: [
    {
      command: 'rawstor-volume key change vm1 --key-file old.key --new-key-file new.key',
      what: 'the old one opens it no more',
    },
    {
      command: 'rawstor-volume key change vm1 --passphrase-file old --new-passphrase-file new',
      what: 'another passphrase',
    },
  ],
  async run(context, [ref], { newKeyFile = [], newPassphraseFile = [] }) {
    const next = await readSecret(onlyPlace([...newKeyFile, ...newPassphraseFile], 'a new wrapping'));
    const cluster = await context.cluster();
    const { timeout } = context.globals;
    const { id, name, encryption } = await volumeInfo(cluster, ref!, timeout);
    if (encryption === undefined) {
      throw new RawstorError('INVALID', 'the volume is not encrypted: it has no key', {
        where: name,
        hint: 'copy it to one that is: export it, then `rawstor-volume import FILE NAME --encrypt`',
      });
    }
    const key = await unwrap(encryption, await context.keys.secretOf(name), name);
    try {
      const change = { kind: 'rekey', encryption: await wrap(key, next) } as const;
      await cluster.changeVolume(id, change, { timeoutMs: timeout });
    } finally {
      key.fill(0);
    }
    context.output.one({ name, id, opens: next.kind }, () => [
      `${name} is opened by the new ${next.kind} from now on`,
    ]);
    return 0;
  },
});

const check = defineVerb({
  name: 'check',
  summary: 'tell whether a key or passphrase opens a volume',
  arguments: [{ name: 'volume', help: 'name or id' }],
  options: KEY_OPTIONS,
  examples: [
    { command: 'rawstor-volume key check vm1 --key-file vm1.key', what: 'exit code 77 when it does not' },
    { command: 'rawstor-volume key check vm1 --passphrase-file words --output json', what: 'for programs' },
  ],
  async run(context, [ref]) {
    const { name, encryption } = await volumeInfo(await context.cluster(), ref!, context.globals.timeout);
    if (encryption === undefined) {
      // Not "it opens": a script that checks its keys takes the volume for an encrypted one.
      context.output.one({ name, encrypted: false, opens: null }, () => [
        `${name} is not encrypted: anybody opens it`,
      ]);
      return EXIT.USAGE;
    }
    await context.keys.cipherOf({ name, encryption });
    context.output.one({ name, encrypted: true, opens: true }, () => [`it opens ${name}`]);
    return 0;
  },
});

export const key = {
  name: 'key',
  summary: 'keys of encrypted volumes',
  verbs: [change, check],
  examples: [...change.examples.slice(0, 1), ...check.examples.slice(0, 1)],
};
