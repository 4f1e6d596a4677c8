import { existsSync } from 'node:fs';
import { rename, rm, stat, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { BlockDevice } from '../../../block/index.js';
import { asRawstorError, RawstorError } from '../../../common/errors.js';
import { formatSizeBytes } from '../../../common/units.js';
import { defineVerb } from '../../command.js';
import type { Context } from '../../context.js';
import { type ExportOptions, exportToFile, exportToStream } from '../../copy/export-raw.js';
import { qemuImg } from '../../copy/qemu-img.js';
import { withTemporaryExport } from '../../copy/temporary-export.js';
import { openVolume } from '../../gateway/let-go.js';
import { interruptible } from '../../interrupt.js';
import { findSnapshot, splitSnapshotRef } from '../../snapshots.js';

interface Options {
  format: string;
  force: boolean;
}

export const exportVerb = defineVerb<Options>({
  name: 'export',
  summary: 'copy a volume to a disk image, or raw to stdout',
  description:
    'What is zero in the volume is a hole in the file. The file appears under its name when it is whole. ' +
    'A volume in use is refused: an image of it would be no cut in time. A snapshot of it is one, and is never in use.',
  arguments: [
    { name: 'volume', help: 'VOLUME or VOLUME@SNAPSHOT' },
    { name: 'file', help: 'the image, or - for stdout' },
  ],
  options: [
    { flags: '--format <format>', help: 'raw, qcow2, ...; all but raw need qemu-img', default: 'raw' },
    { flags: '-f, --force', help: 'replace an existing file', default: false },
  ],
  examples: [
    { command: 'rawstor-volume export vm1 vm1.qcow2 --format qcow2', what: 'to an image file' },
    { command: 'rawstor-volume export vm1 - | zstd > vm1.raw.zst', what: 'through a pipe' },
  ],
  async run(context, [ref, file], options) {
    const toStdout = file === '-';
    if (toStdout && options.format !== 'raw') {
      throw new RawstorError('USAGE', `${options.format} cannot be written to a pipe`, { where: '--format' });
    }
    if (toStdout && process.stdout.isTTY) {
      throw new RawstorError('USAGE', 'a disk image is not for a terminal', {
        hint: 'send it to a pipe or a file',
      });
    }
    if (!toStdout) await checkTarget(file!, options.force);
    return await interruptible(async (signal) => {
      const source = await openSource(context, ref!);
      const { device, name, sizeBytes } = source;
      const progress = context.progress(`export ${name}`, sizeBytes);
      try {
        const copying = { io: context.io(), signal, onProgress: (bytes: number) => progress.update(bytes) };
        if (toStdout) await exportToStream(device, process.stdout, copying);
        else await toFile(context, source, file!, options, copying);
      } finally {
        progress.end();
        await device.close();
      }
      const result = { name, id: source.id, sizeBytes, file, format: options.format };
      if (!toStdout) {
        context.output.one(result, () => [
          `exported ${name} (${formatSizeBytes(sizeBytes)}) to ${file} (${options.format})`,
        ]);
      }
      return 0;
    });
  },
});

interface Source {
  readonly device: BlockDevice;
  readonly name: string;
  readonly id: string;
  readonly sizeBytes: number;
}

async function openSource(context: Context, ref: string): Promise<Source> {
  if (splitSnapshotRef(ref) === null) {
    const device = await openVolume(context, ref);
    const { name, id, sizeBytes } = device.object;
    return { device, name, id, sizeBytes };
  }
  const cluster = await context.cluster();
  const { volume, snapshot } = await findSnapshot(context, cluster, ref);
  const device = await cluster.openSnapshot(volume.id, snapshot.name);
  return { device, name: device.name, id: volume.id, sizeBytes: device.sizeBytes };
}

async function checkTarget(file: string, force: boolean): Promise<void> {
  let found: Awaited<ReturnType<typeof stat>>;
  try {
    found = await stat(file);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw asRawstorError(error, file);
    if (existsSync(dirname(file))) return;
    throw new RawstorError('CANNOT_CREATE', 'there is no directory for the file', {
      where: dirname(file),
      hint: 'make it first, or choose another',
    });
  }
  if (!found.isFile())
    throw new RawstorError('CANNOT_CREATE', 'there is something else than a file', { where: file });
  if (!force)
    throw new RawstorError('EXISTS', 'the file exists', { where: file, hint: 'replace it with --force' });
}

/** Under another name first: a file of this name is always whole. */
async function toFile(
  context: Context,
  { device, name, sizeBytes }: Source,
  file: string,
  options: Options,
  copying: ExportOptions,
): Promise<void> {
  const partial = `${file}.rawstor-partial`;
  try {
    await rm(partial, { force: true });
    if (options.format === 'raw') {
      // As the umask says, like any other file that a user makes.
      await writeFile(partial, '', { flag: 'wx' });
      const target = await copying.io.openFile(partial, {});
      try {
        await exportToFile(device, target, copying);
      } finally {
        await target.close();
      }
    } else {
      const env = { io: copying.io, clock: context.clock, log: context.log };
      await withTemporaryExport(device, name, env, (uri) => {
        const args = ['convert', '-p', '-f', 'raw', '-O', options.format, uri, partial];
        const onPercent = (percent: number) => copying.onProgress((percent / 100) * sizeBytes);
        return qemuImg(args, { signal: copying.signal, onPercent });
      });
    }
    await rename(partial, file);
  } catch (error) {
    await rm(partial, { force: true });
    throw error;
  }
}
