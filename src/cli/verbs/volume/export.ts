import type { BlockDevice } from '../../../block/index.js';
import { RawstorError } from '../../../common/errors.js';
import { formatSizeBytes } from '../../../common/units.js';
import { defineVerb } from '../../command.js';
import type { Context } from '../../context.js';
import { type ExportOptions, exportToFile, exportToStream, type Resuming } from '../../copy/export-raw.js';
import { STANDARD_STREAM } from '../../copy/image-source.js';
import { COPY_RATE_OPTION, paceOf } from '../../copy/pace.js';
import { checkNewFile, withPartialFile } from '../../copy/partial-file.js';
import { exportArgs, isNbdUri, nameForQemu, qemuImg } from '../../copy/qemu-img.js';
import { withResumableFile } from '../../copy/resumable-file.js';
import { withTemporaryExport } from '../../copy/temporary-export.js';
import { exportDifference } from '../../difference/verb-export.js';
import { openVolume } from '../../gateway/let-go.js';
import { interruptible } from '../../interrupt.js';
import { KEY_OPTIONS } from '../../keys.js';
import { findSnapshot, splitSnapshotRef } from '../../snapshots.js';

interface Options {
  format: string;
  since?: string;
  rate?: number;
  resume: boolean;
  force: boolean;
}

export const exportVerb = defineVerb<Options>({
  name: 'export',
  summary: 'copy a volume to a disk image, to an NBD export, or raw to stdout',
  description:
    'What is zero in the volume is a hole in the file. The file appears under its name when it is whole. ' +
    'A volume in use is refused: an image of it would be no cut in time. A snapshot of it is one, and is never in use. ' +
    'With --since what is written is no image but what changed since an older snapshot, for `import --apply`.',
  arguments: [
    { name: 'volume', help: 'VOLUME or VOLUME@SNAPSHOT' },
    { name: 'file', help: 'the image, the NBD URI of an export that is written over, or - for stdout' },
  ],
  options: [
    { flags: '--format <format>', help: 'raw, qcow2, ...; all but raw need qemu-img', default: 'raw' },
    { flags: '--since <snapshot>', help: 'only what changed since this older snapshot of the volume' },
    COPY_RATE_OPTION,
    ...KEY_OPTIONS,
    {
      flags: '--resume',
      help: 'go on where the export of a snapshot was interrupted; when this one is, keep what it has',
      default: false,
    },
    { flags: '-f, --force', help: 'replace an existing file, write over an NBD export', default: false },
  ],
  examples: [
    { command: 'rawstor-volume export vm1 vm1.qcow2 --format qcow2', what: 'to an image file' },
    {
      command: 'rawstor-volume export vm1@tuesday --since monday tuesday.diff',
      what: 'an incremental backup',
    },
  ],
  async run(context, [ref, file], options) {
    const toStdout = file === STANDARD_STREAM;
    const toNbd = isNbdUri(file!);
    if (toStdout && options.format !== 'raw') {
      throw new RawstorError('USAGE', `${options.format} cannot be written to a pipe`, { where: '--format' });
    }
    if (toStdout && process.stdout.isTTY) {
      throw new RawstorError('USAGE', 'a disk image is not for a terminal', {
        hint: 'send it to a pipe or a file',
      });
    }
    if (toNbd) checkNbdTarget(file!, options);
    else if (!toStdout) await checkNewFile(file!, options.force);
    const limited = options.since !== undefined || options.rate !== undefined;
    if (limited && options.format !== 'raw') {
      throw new RawstorError('USAGE', '--since and --rate are not for formats that qemu-img writes', {
        where: `--format ${options.format}`,
      });
    }
    checkResume(ref!, file!, options);
    return await interruptible(async (signal) => {
      const pace = paceOf(context.clock, options.rate);
      if (options.since !== undefined) {
        await exportDifference(context, {
          ref: ref!,
          file: file!,
          signal,
          ...pace,
          since: options.since,
          resume: options.resume,
        });
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
        else if (toNbd) await toServer(context, source, file!, options, copying);
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

/** @throws RawstorError USAGE */
function checkNbdTarget(uri: string, { format, since, resume, force }: Options): void {
  const wrong =
    (format !== 'raw' && `--format ${format}`) ||
    (since !== undefined && '--since') ||
    (resume && '--resume');
  if (wrong) {
    throw new RawstorError('USAGE', 'what is written to an NBD export is a disk as it is', {
      where: wrong,
      hint: 'leave it out, or export to a file',
    });
  }
  if (force) return;
  throw new RawstorError('USAGE', 'all that the NBD export holds is written over', {
    where: uri,
    hint: 'say so with --force',
  });
}

/** @throws RawstorError USAGE */
function checkResume(ref: string, file: string, { resume, format }: Options): void {
  if (!resume) return;
  const without = (text: string, where: string, hint?: string) =>
    new RawstorError('USAGE', text, { where, hint: hint ?? 'leave --resume out' });
  if (file === '-') throw without('a pipe keeps nothing that could be gone on with', '--resume');
  if (format !== 'raw') throw without('what qemu-img writes cannot be gone on with', `--format ${format}`);
  if (splitSnapshotRef(ref) !== null) return;
  throw without('a volume may have changed since: only an export of a snapshot can be gone on with', ref);
}

interface Source {
  readonly device: BlockDevice;
  readonly name: string;
  readonly id: string;
  /** Of a snapshot: it stays what it is. */
  readonly version: number | null;
  readonly sizeBytes: number;
}

async function openSource(context: Context, ref: string): Promise<Source> {
  if (splitSnapshotRef(ref) === null) {
    const device = await openVolume(context, ref);
    const { name, id, sizeBytes } = device.object;
    return { device, name, id, sizeBytes, version: null };
  }
  const cluster = await context.cluster();
  const { volume, snapshot } = await findSnapshot(context, cluster, ref);
  const device = await cluster.openSnapshot(volume.id, snapshot.name);
  const { version } = snapshot;
  return { device, name: device.name, id: volume.id, sizeBytes: device.sizeBytes, version };
}

/** Its export is at least as large; what is beyond the volume there stays. */
async function toServer(
  context: Context,
  { device, name, sizeBytes }: Source,
  uri: string,
  { rate }: Options,
  { io, signal, onProgress }: ExportOptions,
): Promise<void> {
  const env = { io, clock: context.clock, log: context.log };
  await withTemporaryExport(device, name, env, (own) => {
    const limit = rate === undefined ? [] : ['-r', String(rate)];
    const args = exportArgs('raw', own, uri, ['-n', '-W', ...limit]);
    return qemuImg(args, { signal, onPercent: (percent) => onProgress((percent / 100) * sizeBytes) });
  });
}

async function toFile(
  context: Context,
  source: Source,
  file: string,
  options: Options,
  copying: ExportOptions,
): Promise<void> {
  const { device, name, id, sizeBytes, version } = source;
  if (options.format === 'raw') {
    const write = async (partial: string, resuming?: Resuming) => {
      const target = await copying.io.openFile(partial, {});
      await exportToFile(device, target, copying, resuming).finally(() => target.close());
    };
    if (version === null) return await withPartialFile(file, (partial) => write(partial));
    const unchanging = { volumeId: id, version, sizeBytes };
    const resumable = { resume: options.resume, clock: context.clock, log: context.log };
    return await withResumableFile(file, unchanging, resumable, (partial, fromBytes, checkpoints) => {
      if (fromBytes > 0) context.note(`${context.program}: going on at ${formatSizeBytes(fromBytes)}`);
      return write(partial, { fromBytes, checkpoints });
    });
  }
  await withPartialFile(file, async (partial) => {
    const env = { io: copying.io, clock: context.clock, log: context.log };
    await withTemporaryExport(device, name, env, (uri) => {
      const args = exportArgs(options.format, uri, nameForQemu(partial));
      const onPercent = (percent: number) => copying.onProgress((percent / 100) * sizeBytes);
      return qemuImg(args, { signal: copying.signal, onPercent });
    });
  });
}
