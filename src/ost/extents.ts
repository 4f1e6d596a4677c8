import { RawstorError } from '../common/errors.js';
import { LIMITS } from '../common/limits.js';
import type { Params, Result } from '../protocol/index.js';
import { firstMissing } from './checksums/missing.js';
import type { ChunkFile } from './chunk-file.js';
import type { OstCore } from './core.js';
import { withChunk } from './held-chunk.js';
import type { Session } from './session.js';

/**
 * What of a range is data and what a hole, by the file's allocation map. A hole is told as one only where it may be taken for
 * zeros: not where checksums say that something else was written, nor where a block is known to be bad. Whoever asks does not
 * read holes, and would not find out.
 */
export function extents(
  core: OstCore,
  session: Session,
  asked: Params<'ost.extents'>,
): Promise<Result<'ost.extents'>> {
  const { chunkSizeBytes, headVersion, sizeBytes } = session.object.record;
  const end = asked.offset + asked.length;
  const inside = end <= chunkSizeBytes && asked.chunk * chunkSizeBytes + end <= sizeBytes;
  if (!inside || asked.chunkVersion !== headVersion) {
    throw new RawstorError('INVALID', 'the range is not in the object', { where: session.object.record.id });
  }
  return withChunk(core, session, asked.chunk, asked.chunkVersion, (chunk) => {
    // A hole told for a file that is being given up would be punched into a replica.
    core.session(asked.handle, session.holder);
    return { runs: runsOf(core, chunk, asked.offset, end) };
  });
}

function runsOf(core: OstCore, chunk: ChunkFile, offset: number, end: number): number[] {
  const runs: number[] = [];
  let at = offset;
  while (at < end && runs.length < LIMITS.extentsPerAnswer) {
    const holeEnd = endOfHole(chunk, at, end);
    while (at < holeEnd && runs.length < LIMITS.extentsPerAnswer) {
      const missing = firstMissing(core.checksums, core.damage, chunk, at, holeEnd);
      if (missing.from > at) runs.push(missing.from - at, 1);
      if (missing.until > missing.from) runs.push(missing.until - missing.from, 0);
      at = missing.until;
    }
    if (at >= end || at < holeEnd) break;
    const dataEnd = Math.min(end, Math.max(at + 1, chunk.file!.seekHole(at)));
    runs.push(dataEnd - at, 0);
    at = dataEnd;
  }
  return runs;
}

/** Where the hole at `at` ends; `at` where there is none. Behind the end of the file there is neither: SEEK_DATA answers the size. */
function endOfHole({ file }: ChunkFile, at: number, end: number): number {
  if (file === null || at >= file.sizeBytes()) return end;
  const data = file.seekData(at);
  return data < at || data >= file.sizeBytes() ? end : Math.min(end, data);
}
