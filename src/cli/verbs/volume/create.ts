import { RawstorError } from '../../../common/errors.js';
import { LIMITS } from '../../../common/limits.js';
import { formatSizeBytes } from '../../../common/units.js';
import type { CreateSpec, ObjectInfo } from '../../../protocol/index.js';
import { defineVerb, type OptionSpec } from '../../command.js';
import { checkNewName } from '../../new-name.js';
import { checkVolumeSize, size, wholeNumber } from '../../options.js';
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

/**
 * Options of a new volume say nothing to one that exists; one that asks for something else than it has is not
 * passed over. @throws RawstorError EXISTS
 */
export function checkLayout(volume: ObjectInfo, layout: LayoutOptions): void {
  const has: Record<string, unknown> = {
    ...volume,
    chunkSize: volume.chunkSizeBytes,
    near: volume.map.nearDomain,
  };
  for (const { flags, default: usual } of LAYOUT_OPTIONS) {
    const flag = flags.split(' ')[0]!;
    const key = flag.slice(2).replace(/-(.)/g, (_, letter: string) => letter.toUpperCase());
    const wanted = layout[key as keyof LayoutOptions];
    if (wanted === undefined || wanted === usual || wanted === has[key]) continue;
    throw new RawstorError('EXISTS', `the volume exists, and not with ${flag} ${wanted}`, {
      where: volume.name,
      hint: `leave ${flag} out to write over it, or choose another name`,
    });
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
    checkNewName(name!);
    const spec = createSpec(name!, options.size, '--size', options);
    const cluster = await context.cluster();
    const volume = await makeVolume(context, cluster, spec);
    context.output.one(volume, () => [
      `created ${volume.name}: ${formatSizeBytes(volume.sizeBytes)}, ${volume.replicas} ${volume.replicas === 1 ? 'replica' : 'replicas'} (${volume.id})`,
    ]);
    return 0;
  },
});
