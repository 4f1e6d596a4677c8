import { RawstorError } from '../../../common/errors.js';
import { LIMITS } from '../../../common/limits.js';
import { formatSizeBytes } from '../../../common/units.js';
import { nameSchema } from '../../../protocol/index.js';
import { defineVerb, type OptionSpec } from '../../command.js';
import { size, wholeNumber } from '../../options.js';
import { makeVolume } from '../../volumes.js';

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

/** @throws RawstorError USAGE */
export function createSpec(name: string, sizeBytes: number, layout: LayoutOptions) {
  if (!nameSchema.safeParse(name).success) {
    throw new RawstorError('USAGE', `'${name}' is not a volume name`, {
      hint: `letters, digits and _ . : + -, at most ${LIMITS.nameBytes}, a letter, digit or _ first`,
    });
  }
  if (sizeBytes === 0 || sizeBytes % LIMITS.sectorBytes !== 0) {
    const up = (Math.floor(sizeBytes / LIMITS.sectorBytes) + 1) * LIMITS.sectorBytes;
    throw new RawstorError(
      'USAGE',
      `a size of ${sizeBytes} bytes is not whole sectors of ${LIMITS.sectorBytes}`,
      {
        where: '--size',
        hint: `the next size that is: ${up}`,
      },
    );
  }
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

interface Options extends LayoutOptions {
  size: number;
}

export const create = defineVerb<Options>({
  name: 'create',
  summary: 'create a volume',
  description: 'The volume is thin: space is taken when it is written.',
  arguments: [{ name: 'name', help: 'name of the new volume' }],
  options: [{ flags: '--size <size>', help: 'such as 10G', parse: size, required: true }, ...LAYOUT_OPTIONS],
  examples: [
    { command: 'rawstor-volume create vm1 --size 10G', what: 'two copies on two hosts' },
    {
      command: 'rawstor-volume create db --size 1T --replicas 3 --min-replicas 2 --stripe-width all',
      what: 'three copies over all OSTs, never fewer than two',
    },
  ],
  async run(context, [name], options) {
    const spec = createSpec(name!, options.size, options);
    const cluster = await context.cluster();
    const volume = await makeVolume(context, cluster, spec);
    context.output.one(volume, () => [
      `created ${volume.name}: ${formatSizeBytes(volume.sizeBytes)}, ${volume.replicas} ${volume.replicas === 1 ? 'replica' : 'replicas'} (${volume.id})`,
    ]);
    return 0;
  },
});
