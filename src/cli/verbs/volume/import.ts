import type { Cluster } from '../../../client/index.js';
import { RawstorError } from '../../../common/errors.js';
import { isId } from '../../../common/ids.js';
import { LIMITS } from '../../../common/limits.js';
import { formatSizeBytes } from '../../../common/units.js';
import type { ObjectInfo } from '../../../protocol/index.js';
import { defineVerb } from '../../command.js';
import type { Context } from '../../context.js';
import { inspectImage } from '../../copy/image-format.js';
import { importRaw, zeroTail } from '../../copy/import-raw.js';
import { checkImage, qemuImg, virtualSizeBytes } from '../../copy/qemu-img.js';
import { withTemporaryExport } from '../../copy/temporary-export.js';
import { openVolume } from '../../gateway/let-go.js';
import { interruptible } from '../../interrupt.js';
import { checkNewName, PARTIAL } from '../../new-name.js';
import { size, YES } from '../../options.js';
import { findVolume, makeVolume, noteUntold } from '../../volumes.js';
import { checkLayout, createSpec, LAYOUT_OPTIONS, type LayoutOptions } from './create.js';

interface Options extends LayoutOptions {
  size?: number;
  format?: string;
  yes: boolean;
  force: boolean;
}

interface Source {
  readonly path: string;
  readonly format: string;
  /** Of the disk in it, in whole sectors. */
  readonly sizeBytes: number;
  /** As it is: what the last sector of a raw image lacks is filled with zeros. */
  readonly imageBytes: number;
  readonly isDisk: boolean;
}

export const importVerb = defineVerb<Options>({
  name: 'import',
  summary: 'copy a disk image into a volume',
  description:
    'The volume is created, as large as the image, when there is none of that name; until it is whole it is ' +
    `called NAME${PARTIAL}, and a failed or interrupted import removes it again. An existing one is written ` +
    'over as a whole: what is beyond the image reads as zeros. Raw images are read directly and holes stay ' +
    'holes; other formats need qemu-img.',
  arguments: [
    { name: 'file', help: 'the image, or a disk' },
    { name: 'volume', help: 'name of the volume' },
  ],
  options: [
    { flags: '--format <format>', help: 'raw, qcow2, vmdk, ...; default: told by its first bytes' },
    { flags: '--size <size>', help: 'size of the new volume; default: of the image', parse: size },
    { ...YES, help: 'write over an existing volume without asking; needed where there is no terminal' },
    { flags: '-f, --force', help: 'the same', default: false },
    ...LAYOUT_OPTIONS,
  ],
  examples: [
    { command: 'rawstor-volume import debian-12.qcow2 vm1', what: 'a new volume from a cloud image' },
    { command: 'rawstor-volume import disk.img vm2 --size 20G --replicas 3', what: 'larger than the image' },
  ],
  async run(context, [file, name], options) {
    return await interruptible(async (signal) => {
      // An id names a volume that is there.
      if (!isId(name!)) checkNewName(name!);
      const source = await inspect(file!, options.format, signal);
      const cluster = await context.cluster();
      const before = await findVolume(cluster, name!, context.globals.timeout);
      const volume = await (before === null
        ? importNew(context, cluster, name!, source, options, signal)
        : importOver(context, before, source, options, signal));
      context.output.one({ ...volume, imported: source }, () => [
        `imported ${source.path} (${source.format}, ${formatSizeBytes(source.sizeBytes)}) into ${volume.name}`,
      ]);
      return 0;
    });
  },
});

async function inspect(path: string, wanted: string | undefined, signal: AbortSignal): Promise<Source> {
  const facts = inspectImage(path);
  const format = wanted ?? facts.format;
  const bytes = format === 'raw' ? facts.sizeBytes : await virtualSizeBytes(path, format, signal);
  const sizeBytes = Math.ceil(bytes / LIMITS.sectorBytes) * LIMITS.sectorBytes;
  if (format !== 'raw') await checkImage(path, format, signal);
  if (sizeBytes === 0) throw new RawstorError('BAD_DATA', 'the image is empty', { where: path });
  return { path, format, sizeBytes, imageBytes: bytes, isDisk: facts.isDisk };
}

/** Under another name until it is whole: a volume of this name never is half made, however the import ends. */
async function importNew(
  context: Context,
  cluster: Cluster,
  name: string,
  source: Source,
  options: Options,
  signal: AbortSignal,
): Promise<ObjectInfo> {
  const sizeBytes = options.size ?? source.sizeBytes;
  if (sizeBytes < source.sizeBytes) throw tooSmall(sizeBytes, source, '--size');
  if (isId(name)) throw new RawstorError('NOT_FOUND', 'there is no volume of this id', { where: name });
  const partial = `${name.slice(0, LIMITS.nameBytes - PARTIAL.length)}${PARTIAL}`;
  await removeLeftOver(context, cluster, partial, name);
  const half = await makeVolume(context, cluster, createSpec(partial, sizeBytes, '--size', options));
  try {
    await copy(context, source, half, true, signal);
    const renamed = await cluster.renameVolume(half.id, name, context.globals.timeout);
    noteUntold(context, renamed);
    return renamed.volume;
  } catch (error) {
    await removeHalf(context, cluster, half);
    throw error;
  }
}

/** What an import that was killed has left. @throws RawstorError BUSY while one is under way */
async function removeLeftOver(
  context: Context,
  cluster: Cluster,
  partial: string,
  name: string,
): Promise<void> {
  const { timeout } = context.globals;
  const left = await findVolume(cluster, partial, timeout);
  if (left === null) return;
  try {
    await cluster.mds.call('mds.remove', { ref: left.id, force: false }, timeout);
  } catch (error) {
    if (!(error instanceof RawstorError) || error.code !== 'BUSY') throw error;
    throw new RawstorError('BUSY', `another import into '${name}' is under way, or has just been killed`, {
      where: partial,
      hint: 'wait for it, or try again in half a minute',
      cause: error,
    });
  }
  context.note(`${context.program}: removed what an earlier import has left of ${name}`);
}

async function importOver(
  context: Context,
  volume: ObjectInfo,
  source: Source,
  options: Options,
  signal: AbortSignal,
): Promise<ObjectInfo> {
  await checkExisting(context, volume, source, options);
  await copy(context, source, volume, false, signal);
  return volume;
}

async function checkExisting(
  context: Context,
  volume: ObjectInfo,
  source: Source,
  options: Options,
): Promise<void> {
  if (volume.sizeBytes < source.sizeBytes) throw tooSmall(volume.sizeBytes, source, volume.name);
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
  checkLayout(volume, options);
  await context.confirmOverwrite(
    `Write over the data of volume ${volume.name}?`,
    options.yes || options.force,
  );
}

function tooSmall(sizeBytes: number, source: Source, where: string): RawstorError {
  return new RawstorError(
    'USAGE',
    `the image of ${source.sizeBytes} bytes does not fit in ${sizeBytes} bytes`,
    {
      where,
      hint: 'import it into a larger volume',
    },
  );
}

async function copy(
  context: Context,
  source: Source,
  volume: ObjectInfo,
  fresh: boolean,
  signal: AbortSignal,
): Promise<void> {
  const io = context.io();
  const device = await openVolume(context, volume.id);
  const progress = context.progress(`import ${volume.name}`, source.sizeBytes);
  try {
    if (source.format === 'raw') {
      const file = await io.openFile(source.path, { readOnly: true });
      try {
        await importRaw(file, device, {
          io,
          sizeBytes: source.imageBytes,
          holesKnown: !source.isDisk,
          deviceIsEmpty: fresh,
          signal,
          onProgress: (bytes) => progress.update(bytes),
        });
      } finally {
        await file.close();
      }
    } else {
      const env = { io, clock: context.clock, log: context.log };
      await withTemporaryExport(device, volume.name, env, (uri) => {
        const args = ['convert', '-n', '-p', '-W', '-f', source.format, '-O', 'raw', source.path, uri];
        if (fresh) args.splice(1, 0, '--target-is-zero');
        const onPercent = (percent: number) => progress.update((percent / 100) * source.sizeBytes);
        return qemuImg(args, { signal, onPercent });
      });
    }
    if (!fresh) await zeroTail(io, device, source.sizeBytes, signal);
  } finally {
    progress.end();
    // Flushes: what is reported as imported is durable.
    await device.close();
  }
}

async function removeHalf(context: Context, cluster: Cluster, volume: ObjectInfo): Promise<void> {
  try {
    await cluster.mds.call('mds.remove', { ref: volume.id, force: true }, context.globals.timeout);
    context.note(`${context.program}: removed the half-made volume ${volume.name}`);
  } catch {
    context.warn(`the half-made volume ${volume.name} is still there: remove it with rawstor-volume rm`);
  }
}
