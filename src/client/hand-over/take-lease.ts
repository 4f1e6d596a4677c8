import type { Clock } from '../../common/clock.js';
import { asRawstorError, type ErrorCode, RawstorError } from '../../common/errors.js';
import type { Logger } from '../../common/log.js';
import type { OpenVolumeOptions } from '../open-options.js';
import type { Volume } from '../volume.js';
import type { StandbyReader } from './standby-reader.js';

/** Its holder has not given way yet, or somebody needed for the open is away, or in trouble that passes. */
const LATER: ReadonlySet<ErrorCode> = new Set([
  'BUSY',
  'CONFLICT',
  'CONNECTION_LOST',
  'FENCED',
  'IO',
  'LIMIT',
  'NO_SPACE',
  'TIMEOUT',
  'UNAVAILABLE',
]);
const FIRST_RETRY_MS = 10;
const RETRY_MAX_MS = 300;
const TELL_AFTER_MS = 3000;

export interface TakingEnvironment {
  readonly clock: Clock;
  readonly log: Logger;
  openVolume(ref: string, options: OpenVolumeOptions): Promise<Volume>;
}

export interface Asker {
  readonly holder: string;
  /** Its guest has run here under this session: it is CONFLICT when there was another since, of whomever. */
  readonly after: number | null;
}

/**
 * Asks for a volume that another process holds until it has it: as long as that one's guest runs, or until `ended`.
 * @throws RawstorError what no waiting would change; UNAVAILABLE when it was ended
 */
export async function takeLease(
  { clock, log, openVolume }: TakingEnvironment,
  reader: Pick<StandbyReader, 'look' | 'object'>,
  { holder, after: last }: Asker,
  ended: () => boolean,
): Promise<Volume> {
  const ref = reader.object.id;
  const sinceMs = clock.nowMs();
  let told = false;
  let after = last;
  // One of here that comes to nothing has shut out nobody else, and written nothing.
  const onSession = (sessionEpoch: number) => {
    if (after !== null) after = sessionEpoch;
  };
  for (let waitMs = FIRST_RETRY_MS; !ended(); waitMs = Math.min(2 * waitMs, RETRY_MAX_MS)) {
    try {
      const more = after === null ? {} : { after };
      return await openVolume(ref, { mode: 'write', holder, handOver: true, onSession, ...more });
    } catch (error) {
      const failure = asRawstorError(error, ref);
      if (!LATER.has(failure.code)) throw failure;
      if (failure.code === 'CONFLICT' && after !== null) {
        const object = await reader.look().catch(() => null);
        // It may have been opened by an asking of here, whose answer was lost.
        if (object !== null && object.lease?.holder !== holder) throw failure;
        after = object?.sessionEpoch ?? after;
      }
      if (!told && clock.nowMs() - sinceMs > TELL_AFTER_MS) {
        told = true;
        log.warn(
          { volume: ref, reason: failure.message },
          'waiting for the volume: its holder has not given way',
        );
      }
    }
    await clock.sleep(waitMs);
  }
  throw new RawstorError('UNAVAILABLE', 'it was closed before its holder gave way', { where: ref });
}
