import { type BlockDevice, BlockFlag, BlockOp } from '../../block/index.js';
import type { Volume } from '../../client/index.js';
import { RawstorError } from '../../common/errors.js';
import { LIMITS } from '../../common/limits.js';
import { type ReadOptions, taking } from '../copy/device-pieces.js';
import { DifferingWrites } from '../copy/differing-writes.js';
import { flushAsGuest, hearOlderLoss } from '../copy/guest-flush.js';
import { inLanes } from '../copy/lane.js';
import type { NamedSnapshot } from '../snapshots.js';
import type { DifferenceItem } from './decoder.js';
import type { DifferenceHead } from './format.js';
import { canGoOn } from './go-on.js';
import type { RangeSet } from './range-set.js';
import { headOfStream } from './read.js';
import { baseOf, checkNew, markName, marksOfApplies, standingOf } from './target.js';

export interface ApplyOptions extends ReadOptions {
  /** Takes back what the volume has become since; it is kept as a snapshot of this name. */
  readonly keepAs: string | null;
  /** Goes on with what an earlier one has left half done, and leaves what it has done when it fails. */
  readonly resume: boolean;
  /** Where the whole stream has something, null where that is not known. */
  readonly ranges: RangeSet | null;
  onHead(head: DifferenceHead): void;
  onProgress(offset: number): void;
  note(text: string): void;
}

export interface Applied {
  readonly head: DifferenceHead;
  readonly dataBytes: number;
  readonly zeroBytes: number;
  /** Of the data, what was there already. */
  readonly foundBytes: number;
  /** A snapshot of what was taken back. */
  readonly keptAs: string | null;
}

type Range = Exclude<DifferenceItem, { kind: 'head' | 'end' }>;

/**
 * Makes a volume that is at one snapshot what a difference says, and takes the next. However it ends, the first one stays; when it fails, the volume is
 * taken back to it, and where that is cut short, by the next try.
 * @throws RawstorError NOT_FOUND, INVALID, EXISTS, CONFLICT; BAD_DATA, CHECKSUM of the stream; LOSS; those of changes
 */
export async function applyDifference(
  volume: Volume,
  items: AsyncGenerator<DifferenceItem, undefined>,
  options: ApplyOptions,
): Promise<Applied> {
  const head = await headOfStream(items);
  const base = baseOf(volume.object, head);
  checkNew(volume, head);
  options.onHead(head);
  const { io } = options;
  const { name } = volume.object;
  await hearOlderLoss(io, volume, name, options.note);
  const { objectId, version } = head.to;
  const origin = { objectId, version };
  const goesOn = options.resume && (await canGoOn(volume, base, head, options.ranges, io));
  if (goesOn) options.note(`going on with what is done of @${head.to.name}`);
  const keptAs = goesOn ? null : await returnTo(volume, base, options);
  if (!goesOn) await volume.change({ kind: 'snapshot', name: markName(head.to.name), origin });
  const differing = goesOn ? new DifferingWrites(volume, io.pool) : null;
  let counted: Pick<Applied, 'dataBytes' | 'zeroBytes'>;
  try {
    const { sizeBytes } = head.to;
    if (sizeBytes !== volume.sizeBytes) await volume.change({ kind: 'resize', sizeBytes });
    counted = await write(differing ?? volume, items, options);
    // Before the snapshot says that this is a copy of the other one.
    await flushAsGuest(io, volume, name);
    await volume.change({ kind: 'snapshot', name: head.to.name, origin });
  } catch (error) {
    if (options.resume) options.note(`${name} has half of it: go on with --resume`);
    else await takeBack(volume, base, options);
    throw error;
  }
  // It is applied: a mark that stays is in nobody's way, and goes with the next one.
  await removeMarks(volume).catch(() => options.note(`@${markName(head.to.name)} is left: remove it`));
  return { head, ...counted, foundBytes: differing?.sameBytes ?? 0, keptAs };
}

/** @throws RawstorError CONFLICT when it is another than at its snapshot, and may not be taken back */
async function returnTo(
  volume: Volume,
  base: NamedSnapshot,
  { keepAs, note }: ApplyOptions,
): Promise<string | null> {
  const standing = await standingOf(volume, base);
  const where = `${volume.object.name}@${base.name}`;
  let keptAs: string | null = null;
  if (standing === 'half-applied') {
    note(`${where}: what an earlier import has left half done is taken back`);
    await volume.change({ kind: 'rollback', to: base.version, keepAs: null });
  } else if (standing === 'moved') {
    if (keepAs === null) {
      const rolledBack = !volume.marks().some((one) => one.version === base.version);
      throw new RawstorError(
        'CONFLICT',
        `the volume has changed since '${base.name}', where the difference begins`,
        {
          where,
          hint: rolledBack
            ? `it was rolled back: rawstor-volume snapshot rollback ${where} goes on from there`
            : 'roll it back to that, or let --force do it: what it is now is then kept as a snapshot',
        },
      );
    }
    await volume.change({ kind: 'rollback', to: base.version, keepAs });
    keptAs = keepAs;
  }
  await removeMarks(volume);
  return keptAs;
}

async function takeBack(volume: Volume, base: NamedSnapshot, { note }: ApplyOptions): Promise<void> {
  const { name } = volume.object;
  try {
    await volume.change({ kind: 'rollback', to: base.version, keepAs: null });
    await removeMarks(volume);
    note(`${name} is what it was at @${base.name} again`);
  } catch {
    note(`${name} has half of a difference over @${base.name}: the next import of one takes that back`);
  }
}

async function removeMarks(volume: Volume): Promise<void> {
  for (const { version } of marksOfApplies(volume.object)) await volume.change({ kind: 'remove', version });
}

async function write(
  device: BlockDevice,
  items: AsyncGenerator<DifferenceItem, undefined>,
  { io, signal, pace, onProgress }: ApplyOptions,
): Promise<{ dataBytes: number; zeroBytes: number }> {
  const counted = { dataBytes: 0, zeroBytes: 0 };
  const flags = BlockFlag.MAY_UNMAP;
  await inLanes(io, signal, taking(rangesOf(items)), async (lane, range) => {
    const { offset } = range;
    if (range.kind === 'zero') {
      await lane.device(device, BlockOp.WRITE_ZEROES, offset, range.length, { flags });
      counted.zeroBytes += range.length;
    } else {
      const { bytes } = range;
      await pace?.(bytes.length);
      bytes.copy(lane.bytes(0, bytes.length));
      await lane.device(device, BlockOp.WRITE, offset, bytes.length);
      counted.dataBytes += bytes.length;
    }
    onProgress(offset);
  });
  return counted;
}

/** Of at most what one request may be; they do not overlap, so that their order does not matter. */
async function* rangesOf(items: AsyncGenerator<DifferenceItem, undefined>): AsyncGenerator<Range, undefined> {
  for await (const item of items) {
    if (item.kind === 'data') yield item;
    if (item.kind !== 'zero') continue;
    for (let done = 0; done < item.length; done += LIMITS.rangeBytes) {
      const length = Math.min(item.length - done, LIMITS.rangeBytes);
      yield { kind: 'zero', offset: item.offset + done, length };
    }
  }
}
