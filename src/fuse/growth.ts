import type { Clock } from '../common/clock.js';
import { asRawstorError } from '../common/errors.js';
import { LIMITS } from '../common/limits.js';
import { FileTooLarge } from './errno.js';

/** A volume grows only when its replicas are alike, which takes its time after a crash. */
const PATIENCE_MS = 600_000;
const RETRY_MS = 200;

/** @throws FileTooLarge where no volume with such chunks is as large */
export function checkFileSize(name: string, fileBytes: number, chunkSizeBytes: number): void {
  const mostBytes = Math.min(LIMITS.volumeSizeBytes, LIMITS.chunksPerObject * chunkSizeBytes);
  if (fileBytes > mostBytes) throw new FileTooLarge(name, fileBytes, mostBytes);
}

/**
 * Its replicas are being made alike, or what was cut off is being erased: a pause, as for any write.
 * @param onWait told why, at the first pause
 * @throws RawstorError
 */
export async function growPatiently(
  clock: Clock,
  grow: () => Promise<void>,
  onWait: (error: unknown) => void,
): Promise<void> {
  let waits = false;
  for (const untilMs = clock.nowMs() + PATIENCE_MS; ; ) {
    try {
      return await grow();
    } catch (error) {
      if (asRawstorError(error).code !== 'BUSY' || clock.nowMs() > untilMs) throw error;
      if (!waits) onWait(error);
      waits = true;
      await clock.sleep(RETRY_MS);
    }
  }
}
