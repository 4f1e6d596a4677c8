import { LIMITS } from '../common/limits.js';
import { pendingOf } from '../protocol/index.js';
import type { OstCore } from './core.js';
import { withChunk } from './held-chunk.js';
import type { Session } from './session.js';

/**
 * Has lately written regions carry the next tag before writes do (I2): of the head, or, where a new head is ahead of the cut
 * of a snapshot, in that one those of the version that is still written, so that after the cut no write waits for an intent.
 * Files come with the writes: a snapshot touches no chunk.
 * @returns how many regions; 0 where it failed, then the writes ask for themselves
 */
export async function markRecent(core: OstCore, session: Session, tag: number): Promise<number> {
  const { object } = session;
  const { record } = object;
  const written = pendingOf(record)?.version ?? record.headVersion;
  const chunks = [...object.chunks.values()].filter(({ version }) => version === written);
  if (written === record.headVersion) return core.intents.mark(chunks, tag);
  let regions = 0;
  const ahead = async (number: number, recent: readonly number[]): Promise<void> => {
    await withChunk(core, session, number, record.headVersion, async (chunk) => {
      const raised = recent.map((region) => {
        const offset = region * LIMITS.regionSizeBytes;
        const length = Math.min(LIMITS.regionSizeBytes, record.chunkSizeBytes - offset);
        return core.intents.raise(chunk, offset, length, tag);
      });
      await Promise.all(raised);
      regions += recent.length;
    });
  };
  const marked = chunks.map((chunk) => ({ number: chunk.chunk, recent: core.regions.recent(chunk) }));
  await Promise.allSettled(
    marked.filter(({ recent }) => recent.length > 0).map(({ number, recent }) => ahead(number, recent)),
  );
  return regions;
}
