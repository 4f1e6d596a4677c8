import { asRawstorError, RawstorError } from '../../common/errors.js';
import { isMediumError } from '../../io/index.js';
import { SliceList } from '../../io/memory.js';
import type { PoolBuffer } from '../../io/pool.js';
import { FileOp, type IoFile } from '../../io/types.js';
import type { ChunkFile } from '../chunk-file.js';
import type { OstCore } from '../core.js';
import { withChunk } from '../held-chunk.js';
import type { OstObject } from '../object.js';
import { Session } from '../session.js';

/**
 * The OST's own access to the chunks of an object, in the background: ended and waited for like a client's session when
 * the object is removed or the OST closes, but by no attach.
 */
export class QuietAccess {
  readonly object: OstObject;
  private readonly core: OstCore;
  private readonly session: Session;

  /** @throws RawstorError NOT_FOUND */
  constructor(core: OstCore, objectId: string) {
    this.core = core;
    this.object = core.object(objectId, null);
    const holder = { sessions: new Set<Session>(), gone: false };
    this.session = new Session(0, this.object, Number.MAX_VALUE, 0, true, holder);
    this.object.readers.add(this.session);
  }

  close(): void {
    this.session.end();
  }

  /** Runs with the chunk's file open. @throws RawstorError STALE_SESSION when the object is going, IO */
  async with<T>(chunk: number, version: number, work: (chunk: ChunkFile) => Promise<T>): Promise<T> {
    if (this.session.ended !== 0) throw new RawstorError('STALE_SESSION', 'the object is going');
    return withChunk(this.core, this.session, chunk, version, work);
  }

  get ended(): boolean {
    return this.session.ended !== 0;
  }
}

/** Fills the buffer from the file, with zeros behind its end. @returns whether the disk can read that @throws RawstorError IO of other kinds */
export async function canReadInto(
  file: IoFile,
  offset: number,
  buffer: PoolBuffer,
  length: number,
): Promise<boolean> {
  const result = await new Promise<number>((resolve) => {
    const op = new FileOp({ fileDone: (_op, done) => resolve(done) }, new SliceList());
    op.fileOffset = offset;
    op.slices.add(buffer.memory, buffer.offset, length);
    file.read(op);
  });
  if (result < 0) {
    if (isMediumError(result)) return false;
    throw new RawstorError('IO', `reading failed with errno ${-result}`, {
      where: `${file.path} at ${offset}`,
    });
  }
  if (result < length) buffer.memory.bytes.fill(0, buffer.offset + result, buffer.offset + length);
  return true;
}

/** What went wrong at the disk with this one region, null where nothing did: the next ones are gone through all the same. @throws RawstorError of other kinds */
export async function unlessIo(work: Promise<unknown>): Promise<RawstorError | null> {
  try {
    await work;
    return null;
  } catch (error) {
    const failure = asRawstorError(error);
    if (failure.code !== 'IO') throw error;
    return failure;
  }
}

/** A buffer, as soon as there is one. */
export async function takeBuffer(core: OstCore, sizeBytes: number): Promise<PoolBuffer> {
  const { pool } = core.env.io;
  for (;;) {
    const buffer = pool.acquire(sizeBytes);
    if (buffer !== null) return buffer;
    await new Promise<void>((resolve) => pool.whenFree(resolve));
  }
}
