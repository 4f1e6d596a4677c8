import type { Clock } from '../../common/clock.js';
import { asRawstorError, RawstorError } from '../../common/errors.js';
import type { ObjectInfo } from '../../protocol/object-info.js';
import { mergeable } from '../../protocol/version-messages.js';
import { givingWay, type Opener } from '../giving-way.js';
import { isTakenOver } from '../taken-over.js';
import type { Volume } from '../volume.js';
import type { VolumeStatus } from './status.js';

export interface RecoverOptions {
  readonly clock: Clock;
  readonly holder?: string | undefined;
  /** How long an open waits for replicas that may not be given up. */
  readonly openTimeoutMs?: number;
  /** Gives up when nothing has moved for so long. */
  readonly patienceMs?: number;
  readonly onProgress?: (status: VolumeStatus) => void;
  /** Ends it early: the volume is closed. */
  readonly signal?: AbortSignal;
}

export type RecoverOutcome =
  | 'recovered'
  /** Somebody has opened the volume, and goes on with it. */
  | 'taken'
  /** Some OST that is needed is away, or the clean close is not on record: something is left to do. */
  | 'waiting';

const LOOK_MS = 50;
const PATIENCE_MS = 15_000;

/**
 * Opens a volume only to bring it in order: reconciles, resyncs, moves what is wanted elsewhere, closes it clean.
 * Whoever else opens it gets it at once and goes on there.
 * @throws RawstorError BUSY while another has it, UNAVAILABLE when no complete replica can be reached
 */
export async function recoverVolume(
  cluster: Opener,
  ref: string,
  options: RecoverOptions,
): Promise<RecoverOutcome> {
  const { holder, openTimeoutMs: timeoutMs } = options;
  const done = await givingWay(cluster, ref, { holder, timeoutMs }, async (volume, ended) => {
    const outcome = await watch(volume, ended, options).catch((error) => {
      if (isTakenOver(asRawstorError(error))) return 'taken' as const;
      throw error;
    });
    return { outcome, volume, ended };
  });
  if (done.outcome !== 'recovered' || done.volume.closedClean) return done.outcome;
  // The replicas are alike, but the record does not say so: the next one makes them alike again.
  const failure = done.ended();
  return failure !== null && isTakenOver(failure) ? 'taken' : 'waiting';
}

async function watch(
  volume: Volume,
  ended: () => RawstorError | null,
  { clock, patienceMs = PATIENCE_MS, onProgress, signal }: RecoverOptions,
): Promise<RecoverOutcome> {
  let before = '';
  let movedAtMs = clock.nowMs();
  for (;;) {
    const fatal = ended();
    if (fatal !== null) throw fatal;
    const status = volume.status();
    onProgress?.(status);
    if (status.recovered) return 'recovered';
    if (signal?.aborted === true) throw new RawstorError('UNAVAILABLE', 'it was ended early');
    const now = progressOf(status);
    if (now !== before || status.throttled) movedAtMs = clock.nowMs();
    else if (clock.nowMs() - movedAtMs > patienceMs) return 'waiting';
    before = now;
    await clock.sleep(LOOK_MS);
  }
}

function progressOf({ epoch, unreconciledRegions, members }: VolumeStatus): string {
  const each = members.map((m) => `${m.state} ${m.regionsDone} ${m.copiedBytes}`);
  return [epoch, unreconciledRegions, ...each].join(' ');
}

/** Whether a volume that nobody has open is to be opened for its own good. */
export function needsRecovery(volume: ObjectInfo): boolean {
  const stale = volume.members.some((member) => member.state === 'stale');
  const over = volume.wanted === null && volume.left.length === 0 && mergeable(volume).length === 0;
  return stale || !over || !volume.clean;
}
