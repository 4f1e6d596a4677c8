import type { Cluster } from '../../../client/index.js';
import { RawstorError } from '../../../common/errors.js';
import { isId } from '../../../common/ids.js';
import { formatSizeBytes, GiB } from '../../../common/units.js';
import type { ObjectInfo } from '../../../protocol/index.js';
import { defineVerb } from '../../command.js';
import type { Context } from '../../context.js';
import { type Filled, type FillOptions, fillVolume } from '../../copy/fill-volume.js';
import { type ImageSource, inspectSource } from '../../copy/image-source.js';
import { COPY_RATE_OPTION, paceOf } from '../../copy/pace.js';
import { makeWhole } from '../../copy/partial-volume.js';
import { importDifference } from '../../difference/verb-import.js';
import { interruptible } from '../../interrupt.js';
import { ENCRYPT_OPTION, type EncryptOptions, encryptionFor, KEY_OPTIONS } from '../../keys.js';
import { checkNewName, PARTIAL } from '../../new-name.js';
import { size, YES } from '../../options.js';
import { findVolume, makeVolume } from '../../volumes.js';
import { checkLayout, createSpec, LAYOUT_OPTIONS, type LayoutOptions } from './create.js';

interface Options extends LayoutOptions, EncryptOptions {
  size?: number;
  format?: string;
  backing: boolean;
  apply: boolean;
  resume: boolean;
  rate?: number;
  yes: boolean;
  force: boolean;
}

interface Imported extends Filled {
  readonly volume: ObjectInfo;
}

/** A new volume begins so large when nobody knows how much will come. */
const PIPE_SIZE_BYTES = GiB;

export const importVerb = defineVerb<Options>({
  name: 'import',
  summary: 'copy a disk image into a volume',
  description:
    'The volume is created, as large as the image, when there is none of that name; until it is whole it is ' +
    `called NAME${PARTIAL}, and a failed or interrupted import removes it again. An existing one is written ` +
    'over as a whole: what is beyond the image reads as zeros. Raw images are read directly and holes stay ' +
    'holes; other formats, and NBD URIs, need qemu-img. From a pipe (-) comes a raw image, and a new volume becomes as large as ' +
    'that turns out to be, or --size. Without --format a file is what its first bytes say; a disk, a pipe, or a file called .raw that does not ' +
    'begin as a raw one is refused, as a guest may have written that. An image that names other files, which ' +
    'would be copied too, is refused without --backing. With --apply the file is what `export --since` wrote: the volume, which ' +
    'must be as it was at the snapshot where that begins, becomes what it says, and gets the next snapshot. When that ' +
    'fails it is taken back; what a killed import left, the next one takes back.',
  arguments: [
    { name: 'file', help: 'the image, a disk, the NBD URI of an export, or - for stdin' },
    { name: 'volume', help: 'name of the volume' },
  ],
  options: [
    { flags: '--format <format>', help: 'raw, qcow2, vmdk, vdi, vhdx, vpc, ...; default: see above' },
    {
      flags: '--backing',
      help: 'read the other files that the image names, too: backing, data and extent files',
      default: false,
    },
    { flags: '--size <size>', help: 'size of the new volume; default: of the image', parse: size },
    { ...YES, help: 'write over an existing volume without asking; needed where there is no terminal' },
    {
      flags: '--resume',
      help: 'go on where one was interrupted; when this one is, keep what it has',
      default: false,
    },
    { flags: '--apply', help: 'apply what changed between two snapshots', default: false },
    { ...COPY_RATE_OPTION, help: 'write at most this much a second' },
    {
      flags: '-f, --force',
      help: 'as --yes; with --apply: roll a volume back that has changed since, and keep what it was as a snapshot',
      default: false,
    },
    ENCRYPT_OPTION,
    ...KEY_OPTIONS,
    ...LAYOUT_OPTIONS,
  ],
  examples: [
    { command: 'rawstor-volume import debian-12.qcow2 vm1', what: 'a new volume from a cloud image' },
    {
      command: 'rawstor-volume import --apply tuesday.diff vm1-copy',
      what: 'an incremental backup, restored',
    },
  ],
  async run(context, [file, name], options) {
    return await interruptible(async (signal) => {
      checkApply(options);
      if (options.apply) {
        const { force, rate, resume } = options;
        const pace = paceOf(context.clock, rate);
        await importDifference(context, { file: file!, volume: name!, force, resume, signal, ...pace });
        return 0;
      }
      // An id names a volume that is there.
      if (!isId(name!)) checkNewName(name!);
      const source = await inspectSource(file!, options, signal);
      checkPipe(source, options);
      const cluster = await context.cluster();
      const before = await findVolume(cluster, name!, context.globals.timeout);
      const { volume, foundBytes, sizeBytes } = await (before === null
        ? importNew(context, cluster, name!, source, options, signal)
        : importOver(context, before, source, options, signal));
      const imported = { ...source, sizeBytes };
      context.output.one({ ...volume, imported, foundBytes }, () => [
        `imported ${source.path} (${source.format}, ${formatSizeBytes(sizeBytes)}) into ${volume.name}` +
          (options.resume ? `, of which ${formatSizeBytes(foundBytes)} were there` : ''),
      ]);
      return 0;
    });
  },
});

/** @throws RawstorError USAGE */
function checkApply({ apply, size, format }: Options): void {
  if (!apply || (size === undefined && format === undefined)) return;
  throw new RawstorError('USAGE', 'with --apply the stream says what the volume becomes', {
    where: size === undefined ? '--format' : '--size',
    hint: 'leave it out',
  });
}

/** @throws RawstorError USAGE */
function checkPipe({ kind }: ImageSource, { resume }: Options): void {
  if (kind !== 'pipe' || !resume) return;
  throw new RawstorError('USAGE', 'what came through a pipe does not come again', {
    where: '--resume',
    hint: 'leave --resume out: a new volume is made anew',
  });
}

async function importNew(
  context: Context,
  cluster: Cluster,
  name: string,
  source: ImageSource,
  options: Options,
  signal: AbortSignal,
): Promise<Imported> {
  const sizeBytes = options.size ?? source.sizeBytes ?? PIPE_SIZE_BYTES;
  if (sizeBytes < (source.sizeBytes ?? 0)) throw tooSmall(sizeBytes, source, '--size');
  if (isId(name)) throw new RawstorError('NOT_FOUND', 'there is no volume of this id', { where: name });
  const { resume } = options;
  const spec = createSpec(name, sizeBytes, '--size', options);
  const encryption = await encryptionFor(options, false);
  const fits = options.size === undefined && source.kind === 'pipe';
  let filled: Filled | undefined;
  const volume = await makeWhole(context, cluster, {
    name,
    resume,
    sizeBytes,
    make: (partial) => makeVolume(context, cluster, { ...spec, ...encryption, name: partial }),
    checkLeft: (left) => checkLayout(left, options),
    fill: async (half, fresh) => {
      filled = await fillVolume(
        context,
        source,
        half,
        filling(options, { fresh, resume: !fresh, fits }),
        signal,
      );
    },
  });
  return { volume, ...filled! };
}

async function importOver(
  context: Context,
  volume: ObjectInfo,
  source: ImageSource,
  options: Options,
  signal: AbortSignal,
): Promise<Imported> {
  await checkExisting(context, volume, source, options);
  const how = filling(options, { fresh: false, resume: options.resume, fits: false });
  return { volume, ...(await fillVolume(context, source, volume, how, signal)) };
}

function filling(
  { format, rate }: Options,
  how: { fresh: boolean; resume: boolean; fits: boolean },
): FillOptions {
  return { ...how, rate, anyContent: format === 'raw' };
}

async function checkExisting(
  context: Context,
  volume: ObjectInfo,
  source: ImageSource,
  options: Options,
): Promise<void> {
  if (volume.sizeBytes < (source.sizeBytes ?? 0)) throw tooSmall(volume.sizeBytes, source, volume.name);
  if (options.size !== undefined && options.size !== volume.sizeBytes) {
    throw new RawstorError(
      'EXISTS',
      `the volume exists with a size of ${formatSizeBytes(volume.sizeBytes)}`,
      {
        where: volume.name,
        hint: 'leave --size out to write over it, or choose another name',
      },
    );
  }
  if (options.encrypt && volume.encryption === undefined) {
    throw new RawstorError('EXISTS', 'the volume exists, and is not encrypted', { where: volume.name });
  }
  checkLayout(volume, options);
  await context.confirmOverwrite(
    `Write over the data of volume ${volume.name}?`,
    options.yes || options.force,
  );
}

function tooSmall(sizeBytes: number, source: ImageSource, where: string): RawstorError {
  return new RawstorError(
    'USAGE',
    `the image of ${source.sizeBytes} bytes does not fit in ${sizeBytes} bytes`,
    {
      where,
      hint: 'import it into a larger volume',
    },
  );
}
