import { RawstorError } from '../../common/errors.js';
import { crc32c } from '../../io/index.js';
import { errorOfStatus, Opcode, type Params, type Result } from '../../protocol/index.js';
import type { ChunkFile } from '../chunk-file.js';
import type { OstCore } from '../core.js';
import { withChunk } from '../held-chunk.js';
import { hasVersion } from '../layers/index.js';
import type { Session } from '../session.js';
import { canReadInto, takeBuffer } from './quiet-access.js';
import { SUM_BLOCK_BYTES } from './sum-record.js';

/**
 * Keeps a block that no replica could give as one that is known to be bad, in a frozen version too: as a copy would bring it. As with
 * a change its region gets the writer's tag first, and loses its checksums.
 * @throws RawstorError INVALID, READ_ONLY, LIMIT, IO
 */
export async function setDamaged(
  core: OstCore,
  session: Session,
  asked: Params<'ost.setDamaged'>,
): Promise<Result<'ost.setDamaged'>> {
  if (session.readOnly) throw new RawstorError('READ_ONLY', 'a reading session cannot do that');
  const { chunk, chunkVersion, offset, tag, sum } = asked;
  const { record } = session.object;
  const { chunkSizeBytes, id } = record;
  // Replicas are made alike behind the end of a version too.
  const length = Math.min(SUM_BLOCK_BYTES, chunkSizeBytes - offset);
  if (length <= 0 || offset % SUM_BLOCK_BYTES !== 0 || !hasVersion(record, chunkVersion) || tag < 1) {
    throw new RawstorError('INVALID', 'there is no such block in the object', { where: id });
  }
  const block = offset / SUM_BLOCK_BYTES;
  return await withChunk(core, session, chunk, chunkVersion, async (file) => {
    if (core.damage.isOnRecord(file, block)) return { damaged: true };
    if (sum !== null && (await sumOf(core, file, offset)) === sum) return { damaged: false };
    await core.intents.raise(file, offset, length, tag);
    await ownBlock(core, session, file, offset, tag);
    core.checksums?.distrust(file, block);
    await core.damage.keep(file, block, sum);
    return { damaged: true };
  });
}

/** The version has the block itself from now on: neither what lies below nor a hole is what it was, whoever lies over it. */
async function ownBlock(
  core: OstCore,
  session: Session,
  file: ChunkFile,
  offset: number,
  tag: number,
): Promise<void> {
  const buffer = await takeBuffer(core, SUM_BLOCK_BYTES);
  try {
    buffer.memory.bytes.fill(0, buffer.offset, buffer.offset + SUM_BLOCK_BYTES);
    const part = { opcode: Opcode.WRITE, offset, length: SUM_BLOCK_BYTES, tag };
    const status = await core.layers.nested(session, file, part, { buffer, at: 0 });
    if (status !== 0) throw errorOfStatus(status, `OST ${core.ostId}`);
  } finally {
    buffer.release();
  }
}

/** -1 where the disk cannot read it. */
async function sumOf(core: OstCore, { file }: ChunkFile, offset: number): Promise<number> {
  const buffer = await takeBuffer(core, SUM_BLOCK_BYTES);
  try {
    if (file === null) buffer.memory.bytes.fill(0, buffer.offset, buffer.offset + SUM_BLOCK_BYTES);
    else if (!(await canReadInto(file, offset, buffer, SUM_BLOCK_BYTES))) return -1;
    return crc32c(buffer.memory, buffer.offset, SUM_BLOCK_BYTES);
  } finally {
    buffer.release();
  }
}
