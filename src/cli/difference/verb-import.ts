import { statSync } from 'node:fs';
import { RawstorError } from '../../common/errors.js';
import { formatSizeBytes } from '../../common/units.js';
import type { Context } from '../context.js';
import { openAfterKill, openVolume } from '../gateway/let-go.js';
import { freeName, safetyName } from '../verbs/snapshot/safety-name.js';
import { volumeInfo } from '../volumes.js';
import { applyDifference } from './apply.js';
import { checkDifference, readDifference } from './read.js';

export interface ApplyRequest {
  /** `-` for stdin. */
  readonly file: string;
  /** Name or id. */
  readonly volume: string;
  readonly force: boolean;
  readonly resume: boolean;
  readonly signal: AbortSignal;
  readonly pace?: (bytes: number) => Promise<void>;
}

/** What `rawstor-volume import --apply FILE VOLUME` does. @throws RawstorError as `applyDifference` does */
export async function importDifference(context: Context, request: ApplyRequest): Promise<void> {
  const { file, force, resume, signal, pace } = request;
  if (file === '-' && process.stdin.isTTY) {
    throw new RawstorError('USAGE', 'a difference stream does not come from a terminal', {
      hint: 'send it through a pipe, or name a file',
    });
  }
  const cluster = await context.cluster();
  const found = await volumeInfo(cluster, request.volume, context.globals.timeout);
  // Before anything is changed; what comes through a pipe is seen once only.
  const isFile = file !== '-' && statSync(file, { throwIfNoEntry: false })?.isFile() !== false;
  const ranges = isFile ? await checkDifference(file, signal) : null;
  const volume = await (resume ? openAfterKill(context, found.id, signal) : openVolume(context, found.id));
  const items = readDifference(file, signal);
  let progress = context.progress(`apply to ${found.name}`, found.sizeBytes);
  try {
    const keepAs = force ? freeName(volume.object, safetyName(context.clock.wallMs())) : null;
    const { head, ...applied } = await applyDifference(volume, items, {
      io: context.io(),
      signal,
      keepAs,
      resume,
      ranges,
      ...(pace === undefined ? {} : { pace }),
      onHead: ({ from, to }) => {
        progress = context.progress(`apply ${from.name} to ${to.name} to ${found.name}`, to.sizeBytes);
      },
      onProgress: (offset) => progress.update(offset),
      note: (text) => context.note(`${context.program}: ${text}`),
    });
    const { name, id, sizeBytes } = volume.object;
    const told = { name, id, sizeBytes, from: head.from, to: head.to, ...applied, file };
    context.output.one(told, () => [
      `${name} is at @${head.to.name} now: ${formatSizeBytes(applied.dataBytes)} written, ` +
        `${formatSizeBytes(applied.zeroBytes)} zeroed since @${head.from.name}` +
        (applied.foundBytes > 0 ? `; ${formatSizeBytes(applied.foundBytes)} were there` : '') +
        (applied.keptAs === null ? '' : `; what it was is kept as @${applied.keptAs}`),
    ]);
  } finally {
    progress.end();
    // What was not read is not waited for.
    await items.return(undefined);
    await volume.close();
  }
}
