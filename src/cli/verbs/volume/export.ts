import type { BlockDevice } from '../../../block/index.js';
import { RawstorError } from '../../../common/errors.js';
import { formatSizeBytes } from '../../../common/units.js';
import { defineVerb } from '../../command.js';
import type { Context } from '../../context.js';
import { type ExportOptions, exportToFile, exportToStream } from '../../copy/export-raw.js';
import { COPY_RATE_OPTION, paceOf } from '../../copy/pace.js';
import { checkNewFile, withPartialFile } from '../../copy/partial-file.js';
import { qemuImg } from '../../copy/qemu-img.js';
import { withTemporaryExport } from '../../copy/temporary-export.js';
import { exportDifference } from '../../difference/verb-export.js';
import { openVolume } from '../../gateway/let-go.js';
import { interruptible } from '../../interrupt.js';
import { findSnapshot, splitSnapshotRef } from '../../snapshots.js';

interface Options {
  format: string;
  since?: string;
  rate?: number;
  force: boolean;
}

export const exportVerb = defineVerb<Options>({
  name: 'export',
  summary: 'copy a volume to a disk image, or raw to stdout',
  description:
    'What is zero in the volume is a hole in the file. The file appears under its name when it is whole. ' +
    'A volume in use is refused: an image of it would be no cut in time. A snapshot of it is one, and is never in use. ' +
    'With --since what is written is no image but what changed since an older snapshot, for `import --apply`.',
  arguments: [
    { name: 'volume', help: 'VOLUME or VOLUME@SNAPSHOT' },
    { name: 'file', help: 'the image, or - for stdout' },
  ],
  options: [
    { flags: '--format <format>', help: 'raw, qcow2, ...; all but raw need qemu-img', default: 'raw' },
    { flags: '--since <snapshot>', help: 'only what changed since this older snapshot of the volume' },
    COPY_RATE_OPTION,
    { flags: '-f, --force', help: 'replace an existing file', default: false },
  ],
  examples: [
    { command: 'rawstor-volume export vm1 vm1.qcow2 --format qcow2', what: 'to an image file' },
    {
      command: 'rawstor-volume export vm1@tuesday --since monday tuesday.diff',
      what: 'an incremental backup',
    },
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
    if (!toStdout) await checkNewFile(file!, options.force);
    const limited = options.since !== undefined || options.rate !== undefined;
    if (limited && options.format !== 'raw') {
      throw new RawstorError('USAGE', '--since and --rate are not for formats that qemu-img writes', {
        where: `--format ${options.format}`,
      });
    }
    return await interruptible(async (signal) => {
      const pace = paceOf(context.clock, options.rate);
      if (options.since !== undefined) {
        await exportDifference(context, { ref: ref!, since: options.since, file: file!, signal, ...pace });
        return 0;
      }
      const source = await openSource(context, ref!);
      const { device, name, sizeBytes } = source;
      const progress = context.progress(`export ${name}`, sizeBytes);
      try {
        const copying = {
          io: context.io(),
          signal,
          ...pace,
          onProgress: (bytes: number) => progress.update(bytes),
        };
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

async function toFile(
  context: Context,
  { device, name, sizeBytes }: Source,
  file: string,
  options: Options,
  copying: ExportOptions,
): Promise<void> {
  await withPartialFile(file, async (partial) => {
    if (options.format === 'raw') {
      const target = await copying.io.openFile(partial, {});
      try {
        await exportToFile(device, target, copying);
      } finally {
        await target.close();
      }
      return;
    }
    const env = { io: copying.io, clock: context.clock, log: context.log };
    await withTemporaryExport(device, name, env, (uri) => {
      const args = ['convert', '-p', '-f', 'raw', '-O', options.format, uri, partial];
      const onPercent = (percent: number) => copying.onProgress((percent / 100) * sizeBytes);
      return qemuImg(args, { signal: copying.signal, onPercent });
    });
  });
}
