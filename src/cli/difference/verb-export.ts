import { createWriteStream } from 'node:fs';
import { open } from 'node:fs/promises';
import { finished } from 'node:stream/promises';
import { RawstorError } from '../../common/errors.js';
import { formatSizeBytes } from '../../common/units.js';
import type { Context } from '../context.js';
import { withPartialFile } from '../copy/partial-file.js';
import { findSnapshot, namedSnapshot, splitSnapshotRef } from '../snapshots.js';
import { headOf, makeDifference } from './make.js';

export interface DifferenceRequest {
  /** `VOLUME@SNAPSHOT`. */
  readonly ref: string;
  /** Name of the older snapshot. */
  readonly since: string;
  /** `-` for stdout. */
  readonly file: string;
  readonly signal: AbortSignal;
  readonly pace?: (bytes: number) => Promise<void>;
}

/** What `rawstor-volume export VOLUME@SNAPSHOT --since OLDER` does. @throws RawstorError USAGE, NOT_FOUND, INVALID, ... */
export async function exportDifference(
  context: Context,
  { ref, since, file, signal, pace }: DifferenceRequest,
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
    const make = (stream: NodeJS.WritableStream) =>
      makeDifference(device, from, head, stream as typeof process.stdout, options);
    const totals = file === '-' ? await make(process.stdout) : await toFile(file, make);
    if (file === '-') return;
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

async function toFile<T>(file: string, make: (stream: NodeJS.WritableStream) => Promise<T>): Promise<T> {
  return await withPartialFile(file, async (partial) => {
    const stream = createWriteStream(partial, { flags: 'r+' });
    let made: T;
    try {
      made = await make(stream);
    } catch (error) {
      stream.destroy();
      throw error;
    }
    stream.end();
    await finished(stream);
    const handle = await open(partial, 'r+');
    await handle.sync().finally(() => handle.close());
    return made;
  });
}
