import type { BlockDevice } from '../../block/index.js';
import type { Volume } from '../../client/index.js';
import { RawstorError } from '../../common/errors.js';
import { formatSizeBytes } from '../../common/units.js';
import type { Io } from '../../io/index.js';
import type { ObjectInfo } from '../../protocol/index.js';
import type { Context } from '../context.js';
import { openAfterKill, openVolume } from '../gateway/let-go.js';
import type { Progress } from '../progress.js';
import { DifferingWrites } from './differing-writes.js';
import { flushAsGuest, hearOlderLoss } from './guest-flush.js';
import type { ImageSource } from './image-source.js';
import { importRaw, zeroTail } from './import-raw.js';
import { importStream, wholeSectors } from './import-stream.js';
import { paceOf } from './pace.js';
import { imageArgs, qemuImg } from './qemu-img.js';
import { withTemporaryExport } from './temporary-export.js';

export interface FillOptions {
  /** The volume reads as zeros everywhere. */
  readonly fresh: boolean;
  readonly resume: boolean;
  /** Its size is what the source turns out to have. */
  readonly fits: boolean;
  /** A source whose first bytes look like another format is taken as it is. */
  readonly anyContent: boolean;
  /** Bytes per second. */
  readonly rate: number | undefined;
}

export interface Filled {
  /** Of the image, in whole sectors. */
  readonly sizeBytes: number;
  /** Data that was there already, where that was looked at. */
  readonly foundBytes: number;
}

/** Copies an image into a volume; what is beyond it there reads as zeros. Durable when it answers. @throws RawstorError LOSS */
export async function fillVolume(
  context: Context,
  source: ImageSource,
  volume: ObjectInfo,
  options: FillOptions,
  signal: AbortSignal,
): Promise<Filled> {
  const { fresh, resume } = options;
  const opened = await (resume ? openAfterKill(context, volume.id, signal) : openVolume(context, volume.id));
  const io = context.io();
  const differing = resume ? new DifferingWrites(opened, io.pool) : null;
  const device = differing ?? opened;
  const progress = context.progress(`import ${volume.name}`, source.sizeBytes ?? 0);
  const filling = { context, io, source, opened, device, options, signal, progress };
  try {
    if (!fresh) await hearOlderLoss(io, opened, volume.name, (text) => context.warn(text));
    const sizeBytes = await (source.kind === 'pipe' ? fromPipe(filling) : fromImage(filling));
    if (!fresh) await zeroTail(io, device, sizeBytes, signal);
    await flushAsGuest(io, opened, volume.name);
    return { sizeBytes, foundBytes: differing?.sameBytes ?? 0 };
  } finally {
    progress.end();
    await opened.close();
  }
}

interface Filling {
  readonly context: Context;
  readonly source: ImageSource;
  readonly io: Io;
  readonly opened: Volume;
  /** What is written to. */
  readonly device: BlockDevice;
  readonly options: FillOptions;
  readonly signal: AbortSignal;
  readonly progress: Progress;
}

/** @returns size of the image, in whole sectors */
async function fromPipe({ context, io, opened, options, signal, progress }: Filling): Promise<number> {
  const { fresh, fits, anyContent, rate } = options;
  const resize = (sizeBytes: number) => opened.change({ kind: 'resize', sizeBytes });
  const bytes = await importStream(process.stdin, opened, {
    io,
    signal,
    deviceIsEmpty: fresh,
    anyContent,
    grow: async (sizeBytes) => {
      if (sizeBytes <= opened.sizeBytes) return;
      if (!fits) throw tooLong(opened.sizeBytes);
      await resize(Math.max(sizeBytes, 2 * opened.sizeBytes));
    },
    ...paceOf(context.clock, rate),
    onProgress: (doneBytes) => progress.update(doneBytes),
  });
  const sizeBytes = wholeSectors(bytes);
  if (fits && sizeBytes !== opened.sizeBytes) await resize(sizeBytes);
  return sizeBytes;
}

/** @returns size of the image, in whole sectors */
async function fromImage(filling: Filling): Promise<number> {
  const { context, io, source, opened, device, options, signal, progress } = filling;
  const { fresh, rate } = options;
  const sizeBytes = source.sizeBytes!;
  if (source.format === 'raw' && source.kind !== 'nbd') {
    const file = await io.openFile(source.path, { readOnly: true });
    try {
      await importRaw(file, device, {
        io,
        sizeBytes: source.imageBytes!,
        holesKnown: source.kind === 'file',
        deviceIsEmpty: fresh,
        signal,
        ...paceOf(context.clock, rate),
        onProgress: (bytes) => progress.update(bytes),
      });
    } finally {
      await file.close();
    }
  } else {
    const env = { io, clock: context.clock, log: context.log };
    await withTemporaryExport(device, opened.object.name, env, (uri) => {
      const args = ['convert', '-n', '-p', '-W', '-O', 'raw', ...imageArgs(source), uri];
      if (fresh) args.splice(1, 0, '--target-is-zero');
      if (rate !== undefined) args.splice(1, 0, '-r', String(rate));
      const onPercent = (percent: number) => progress.update((percent / 100) * sizeBytes);
      return qemuImg(args, { signal, onPercent });
    });
  }
  return sizeBytes;
}

function tooLong(sizeBytes: number): RawstorError {
  const there = formatSizeBytes(sizeBytes);
  return new RawstorError('USAGE', `what comes through the pipe is longer than the volume, ${there}`, {
    where: 'standard input',
    hint: 'import it into a larger volume, or into a new one without --size, which becomes as large as it is',
  });
}
