import { createWriteStream } from 'node:fs';
import { truncate } from 'node:fs/promises';
import type { Writable } from 'node:stream';
import { finished } from 'node:stream/promises';
import { RawstorError } from '../../common/errors.js';
import { formatSizeBytes } from '../../common/units.js';
import type { Context } from '../context.js';
import { withPartialFile } from '../copy/partial-file.js';
import { findSnapshot, namedSnapshot, splitSnapshotRef } from '../snapshots.js';
import { begunDifference } from './begun.js';
import { type BegunDifference, headOf, makeDifference } from './make.js';

export interface DifferenceRequest {
  /** `VOLUME@SNAPSHOT`. */
  readonly ref: string;
  /** Name of the older snapshot. */
  readonly since: string;
  /** `-` for stdout. */
  readonly file: string;
  /** Goes on with what an earlier one has left of the same, and leaves what it has made when it fails. */
  readonly resume: boolean;
  readonly signal: AbortSignal;
  readonly pace?: (bytes: number) => Promise<void>;
}

/** What `rawstor-volume export VOLUME@SNAPSHOT --since OLDER` does. @throws RawstorError USAGE, NOT_FOUND, INVALID, ... */
export async function exportDifference(
  context: Context,
  { ref, since, file, resume, signal, pace }: DifferenceRequest,
): Promise<void> {
  if (splitSnapshotRef(ref) === null) {
    throw new RawstorError('USAGE', 'what a volume is now changes while it is read: name a snapshot of it', {
      where: ref,
      hint: `rawstor-volume snapshot ${ref}@NAME, then export ${ref}@NAME --since ${since}`,
    });
  }
  const cluster = await context.cluster();
  const { volume, snapshot } = await findSnapshot(context, cluster, ref);
  const from = namedSnapshot(volume, since);
  const device = await cluster.openSnapshot(volume.id, snapshot.name);
  const { name, sizeBytes } = device;
  const progress = context.progress(`export ${name} since ${since}`, sizeBytes);
  const head = headOf(volume, from, snapshot, context.clock.wallMs());
  const onProgress = (offset: number) => progress.update(offset);
  const options = { io: context.io(), signal, onProgress, ...(pace === undefined ? {} : { pace }) };
  try {
    const make = (stream: Writable, begun?: BegunDifference) =>
      makeDifference(device, from, head, stream, options, begun);
    if (file === '-') {
      await make(process.stdout);
      return;
    }
    const totals = await withPartialFile(
      file,
      async (partial) => {
        const begun = resume ? await begunDifference(partial, head) : undefined;
        const at = begun?.encoder.totals.streamBytes ?? 0;
        if (at > 0) context.note(`${context.program}: going on at ${formatSizeBytes(at)} of ${partial}`);
        return await toFile(partial, at, (stream) => make(stream, begun));
      },
      { keep: resume },
    );
    const result = { name, id: volume.id, since, sizeBytes, file, format: 'difference', ...totals };
    context.output.one(result, () => [
      `exported what changed in ${name} since ${since} to ${file}: ${formatSizeBytes(totals.dataBytes)} of data, ` +
        `${formatSizeBytes(totals.zeroBytes)} zeroed`,
    ]);
  } finally {
    progress.end();
    await device.close();
  }
}

async function toFile<T>(
  partial: string,
  atByte: number,
  make: (stream: Writable) => Promise<T>,
): Promise<T> {
  await truncate(partial, atByte);
  const stream = createWriteStream(partial, { flags: 'r+', start: atByte });
  // Who writes is told of it too; of a stream that nobody listens to it would end the process.
  stream.on('error', () => {});
  let made: T;
  try {
    made = await make(stream);
  } catch (error) {
    stream.destroy();
    throw error;
  }
  stream.end();
  await finished(stream);
  return made;
}
