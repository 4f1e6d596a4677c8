import type { ChunkFile } from './chunk-file.js';
import type { OstCore } from './core.js';
import type { Session } from './session.js';

/** Runs with a chunk's file open, or known not to be there, as an operation of the session: an attach waits for it. */
export async function withChunk<T>(
  core: OstCore,
  session: Session,
  number: number,
  version: number,
  work: (chunk: ChunkFile) => T | Promise<T>,
): Promise<T> {
  const chunk = core.chunks.chunk(session.object, number, version);
  chunk.holders++;
  chunk.used = true;
  session.inFlight++;
  try {
    if (!chunk.ready) await core.chunks.ready(chunk);
    return await work(chunk);
  } finally {
    chunk.holders--;
    session.answered();
    core.chunks.settled(chunk);
  }
}
