import { RawstorError } from '../../../common/errors.js';
import { LIMITS } from '../../../common/limits.js';
import { formatSizeBytes } from '../../../common/units.js';
import type { CreateSpec, ObjectInfo } from '../../../protocol/index.js';
import { defineVerb, type OptionSpec } from '../../command.js';
import { ENCRYPT_OPTION, type EncryptOptions, encryptionFor, KEY_OPTIONS } from '../../keys.js';
import { checkNewName } from '../../new-name.js';
import { checkVolumeSize, size, wholeNumber } from '../../options.js';
import { makeVolume } from '../../volumes.js';
import { createFrom } from './create-from.js';

/** How a new volume is laid out; `import` takes the same options. */
export interface LayoutOptions {
  replicas: number;
  minReplicas: number;
  chunkSize: number;
  stripeWidth: number | 'all';
  failureDomain: string;
  near?: string;
  onDegraded: 'pause' | 'error';
}

export const LAYOUT_OPTIONS: readonly OptionSpec[] = [
  {
    flags: '--replicas <n>',
    help: 'copies of each chunk',
    parse: wholeNumber(1, LIMITS.replicas),
    default: 2,
  },
  {
    flags: '--min-replicas <n>',
    help: 'writes wait while fewer copies than this are in sync',
    parse: wholeNumber(1, LIMITS.replicas),
    default: 1,
  },
  {
    flags: '--chunk-size <size>',
    help: 'a power of two',
    parse: size,
    default: LIMITS.chunkSizeDefaultBytes,
    defaultText: '1G',
  },
  {
    flags: '--stripe-width <n>',
    help: '1: all chunks on one set of OSTs; N: over N of them; all: over all',
    parse: (text) => (text === 'all' ? 'all' : wholeNumber(1, LIMITS.poolMembers)(text)),
    default: 1,
  },
  {
    flags: '--failure-domain <label>',
    help: 'label that copies must differ in: host, rack, ... or ost',
    default: 'host',
  },
  { flags: '--near <host>', help: 'host label of the OST that holds the first copy' },
  {
    flags: '--on-degraded <policy>',
    help: 'what I/O does below --min-replicas',
    choices: ['pause', 'error'],
    default: 'pause',
  },
];

/**
 * Options of a new volume say nothing to one that exists; one that asks for something else than it has is not
 * passed over. @throws RawstorError EXISTS
 */
export function checkLayout(volume: ObjectInfo, layout: LayoutOptions): void {
  for (const { flag, wanted, usual } of differing(volume, layout)) {
    if (wanted === usual) continue;
    throw new RawstorError('EXISTS', `the volume exists, and not with ${flag} ${wanted}`, {
      where: volume.name,
      hint: `leave ${flag} out to write over it, or choose another name`,
    });
  }
}

interface DifferingOption {
  /** As the command line has it, `--chunk-size`, and as the options do. */
  readonly flag: string;
  readonly key: string;
  readonly wanted: unknown;
  readonly usual: unknown;
}

/** Options that say something else than an object has. */
export function* differing(object: ObjectInfo, layout: LayoutOptions): Generator<DifferingOption, undefined> {
  const has: Record<string, unknown> = {
    ...object,
    chunkSize: object.chunkSizeBytes,
    near: object.map.nearDomain,
  };
  for (const { flags, default: usual } of LAYOUT_OPTIONS) {
    const flag = flags.split(' ')[0]!;
    const key = flag.slice(2).replace(/-(.)/g, (_, letter: string) => letter.toUpperCase());
    const wanted = layout[key as keyof LayoutOptions];
    if (wanted !== undefined && wanted !== has[key]) yield { flag, key, wanted, usual };
  }
}

/** @throws RawstorError USAGE */
export function createSpec(
  name: string,
  sizeBytes: number,
  /** The option that the size came from. */
  sizeOption: string,
  layout: LayoutOptions,
): CreateSpec {
  checkVolumeSize(sizeBytes, sizeOption);
  if (layout.minReplicas > layout.replicas) {
    throw new RawstorError(
      'USAGE',
      `--min-replicas ${layout.minReplicas} is more than --replicas ${layout.replicas}`,
    );
  }
  return {
    name,
    sizeBytes,
    chunkSizeBytes: layout.chunkSize,
    replicas: layout.replicas,
    minReplicas: layout.minReplicas,
    stripeWidth: layout.stripeWidth,
    failureDomain: layout.failureDomain,
    near: layout.near ?? null,
    onDegraded: layout.onDegraded,
  };
}

interface Options extends LayoutOptions, EncryptOptions {
  size?: number;
  from?: string;
}

export const create = defineVerb<Options>({
  name: 'create',
  summary: 'create a volume',
  description:
    'The volume is thin: space is taken when it is written. Of an object in a bucket with the setting `image`, or of a snapshot, it is made at ' +
    'once and without copying, with the layout of that (--min-replicas and --on-degraded may be others); of another object by copying it. With --encrypt its data leaves this machine as ciphertext: what opens it is asked for wherever it is used.',
  arguments: [{ name: 'name', help: 'name of the new volume' }],
  options: [
    { flags: '--size <size>', help: 'such as 10G; default with --from: as that', parse: size },
    { flags: '--from <source>', help: 's3://BUCKET/KEY, a raw image, or VOLUME@SNAPSHOT' },
    ENCRYPT_OPTION,
    ...KEY_OPTIONS,
    ...LAYOUT_OPTIONS,
  ],
  examples: [
    { command: 'rawstor-volume create vm1 --size 10G', what: 'two copies on two hosts' },
    { command: 'rawstor-volume create web1 --from s3://images/debian.raw', what: 'of an image, at once' },
  ],
  async run(context, [name], options) {
    checkNewName(name!);
    if (options.from === undefined && options.size === undefined) {
      throw new RawstorError('USAGE', '--size is missing', {
        hint: "give it, or --from; see 'rawstor-volume create --help'",
      });
    }
    const { from, size: sizeBytes } = options;
    const encryption = await encryptionFor(options, from !== undefined);
    const spec = () => ({ ...createSpec(name!, sizeBytes!, '--size', options), ...encryption });
    const volume =
      from === undefined
        ? await makeVolume(context, await context.cluster(), spec())
        : await createFrom(context, name!, from, sizeBytes, { ...options, ...encryption });
    context.output.one(volume, () => [
      `created ${volume.name}: ${formatSizeBytes(volume.sizeBytes)}, ${volume.replicas} ${volume.replicas === 1 ? 'replica' : 'replicas'} (${volume.id})`,
    ]);
    return 0;
  },
});
