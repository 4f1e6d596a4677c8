import { asRawstorError, RawstorError } from '../../common/errors.js';
import { errorOfStatus, STATUS_CHECKSUM } from '../../protocol/control.js';
import type { Result } from '../../protocol/messages.js';
import type { Member } from '../member.js';
import type { LockHolder } from '../range-locks.js';
import type { RegionSet } from '../region-set.js';
import { mayServe } from '../replica-choice.js';
import type { VolumeState } from '../volume-state.js';

/** Of a copy itself: who waits for its turn at the target is answered every 5 s (`copyAnswerMs`). */
const COPY_TIMEOUT_MS = 25_000;
const LIST_TIMEOUT_MS = 30_000;

/** Adds every region of `member` whose epoch is at least `since`. */
export function listRegions(member: Member, since: number, into: RegionSet): Promise<void> {
  return eachPage(member, since, ({ rows }) => into.addRows(rows));
}

/** Gives every region of `member` whose epoch is at least `since`, a page at a time. */
export async function eachPage(
  member: Member,
  since: number,
  take: (page: Result<'ost.regions'>) => void,
): Promise<void> {
  let from: { chunk: number; region: number } | null = null;
  do {
    const { peer } = member;
    if (peer === null) {
      throw new RawstorError('CONNECTION_LOST', 'an OST left while its regions were listed', {
        where: member.ostId,
        hint: 'try again when it is back: `rawstor status`',
      });
    }
    const page: Result<'ost.regions'> = await peer.call(
      'ost.regions',
      { handle: member.handle, since, from },
      LIST_TIMEOUT_MS,
    );
    take(page);
    from = page.next;
  } while (from !== null);
}

/**
 * Byte range that a region covers, behind the object's end too: a snapshot may be longer than the head is, and what was cut
 * off has to go from every replica.
 */
export function regionRange(
  { object, regionSizeBytes }: VolumeState,
  chunk: number,
  region: number,
): { start: number; end: number } {
  const start = chunk * object.chunkSizeBytes + region * regionSizeBytes;
  return { start, end: start + regionSizeBytes };
}

/** Runs with the range locked exclusively: no request overlaps (I3 covers copies). */
export async function withRangeLocked<T>(
  state: VolumeState,
  range: { start: number; end: number },
  action: () => Promise<T>,
): Promise<T> {
  let granted!: () => void;
  const wait = new Promise<void>((resolve) => {
    granted = resolve;
  });
  const holder: LockHolder = {
    lockStart: range.start,
    lockEnd: range.end,
    lockExclusive: true,
    lockSlot: -1,
    lockGranted: () => granted(),
  };
  if (!state.locks.acquire(holder)) await wait;
  try {
    return await action();
  } finally {
    state.locks.release(holder);
  }
}

/**
 * `source` and `target`: which of the two failed; nothing more of the copy is applied then. `damaged`: some block is not what
 * was written at the source.
 */
export type CopyOutcome = 'copied' | 'damaged' | 'source' | 'target';

export interface CopyMore {
  /** Of the object; default: the head. */
  readonly version?: number;
  /** The range is a region that is sealed at the source: it need not be copied again. */
  readonly remember?: boolean;
  /** What is written gets this tag at least. */
  readonly tag?: number;
  /** Also the versions under the head that may differ since then; 0: all. */
  readonly since?: number;
}

/**
 * Orders one OST to pull a range from another. If what became of it is unknown, the target's session is ended, so
 * that nothing of it is applied after the lock is released.
 */
export async function orderCopy(
  state: VolumeState,
  source: Member,
  target: Member,
  chunk: number,
  offset: number,
  length: number,
  { version, ...more }: CopyMore = {},
): Promise<CopyOutcome> {
  const { peer, handle } = target;
  if (peer === null) return 'target';
  if (source.bootId === null) return 'source';
  const failed = (reason: string) =>
    state.env.log.warn(
      { source: source.ostId, target: target.ostId, chunk, offset, reason },
      'a copy failed',
    );
  const order = {
    handle,
    chunk,
    // While a new head is being told to all, nothing is in it yet.
    chunkVersion: version ?? Math.min(source.headVersion, target.headVersion),
    offset,
    length,
    sourceAddresses: [...source.addresses],
    sourceOstId: source.ostId,
    sourceBootId: source.bootId,
    ...more,
  };
  const { clock } = state.env;
  const orderedMs = clock.nowMs();
  try {
    let answer = await peer.call('ost.copy', { ...order, waitedMs: 0 }, COPY_TIMEOUT_MS);
    // Behind other copies on a healthy OST, for as long as it takes: each answer says that it lives, and that nothing was begun.
    while (answer.waits === true) {
      if (target.peer !== peer || target.handle !== handle || state.fatal !== null) return 'target';
      const waitedMs = Math.round(clock.nowMs() - orderedMs);
      answer = await peer.call('ost.copy', { ...order, waitedMs }, COPY_TIMEOUT_MS);
    }
    const { copiedBytes, sourceStatus } = answer;
    target.dirty = true;
    target.copiedBytes += copiedBytes;
    state.env.throttle?.spend(copiedBytes);
    if (sourceStatus === 0) return 'copied';
    failed(errorOfStatus(sourceStatus, source.ostId).message);
    return sourceStatus === STATUS_CHECKSUM ? 'damaged' : 'source';
  } catch (error) {
    const failure = asRawstorError(error);
    failed(failure.message);
    target.copyFailure = failure;
    target.end(target.inSync);
    return 'target';
  }
}

/** A member to copy from: not `target`, and none that has failed. */
export function copySource(
  placement: readonly Member[],
  target: Member,
  failed: readonly Member[],
): Member | null {
  const fit = (member: Member) =>
    member !== target && mayServe(member, placement) && !failed.includes(member);
  return placement.find(fit) ?? null;
}
