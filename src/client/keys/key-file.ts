import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { systemClock } from '../../common/clock.js';
import { asRawstorError, RawstorError } from '../../common/errors.js';

const LOOK_MS = 20;

/** By path, of pipes and terminals: what comes through one comes once, and a volume is opened again and again. */
const fromPipes = new Map<string, Promise<Buffer>>();

/**
 * The bytes of a key file, one more than `maxBytes` of one that is longer. A pipe is never waited for in a thread: there are four for
 * all files of this process, and nobody may ever write to it.
 * @throws RawstorError TIMEOUT of a pipe; of the file
 */
export async function readKeyFile(path: string, maxBytes: number, pipeWaitMs: number): Promise<Buffer> {
  try {
    // Before it is opened: that alone may take from a pipe's writer what comes once.
    const known = fromPipes.get(path);
    if (known !== undefined) return Buffer.from(await known);
    const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
    const stat = await file.stat();
    const isPipe = stat.isFIFO();
    const how = { path, maxBytes, isPipe, waitMs: pipeWaitMs };
    if (stat.isFile()) return await readOnce(file, how);
    // Another may have begun meanwhile.
    const begun = fromPipes.get(path);
    if (begun !== undefined) {
      await file.close();
      return Buffer.from(await begun);
    }
    const reading = readOnce(file, how);
    fromPipes.set(path, reading);
    reading.catch(() => fromPipes.delete(path));
    return Buffer.from(await reading);
  } catch (error) {
    throw asRawstorError(error, path);
  }
}

interface How {
  readonly path: string;
  readonly maxBytes: number;
  readonly isPipe: boolean;
  /** For what is not there yet. */
  readonly waitMs: number;
}

/** Closes it. */
async function readOnce(file: FileHandle, { path, maxBytes, isPipe, waitMs }: How): Promise<Buffer> {
  const buffer = Buffer.alloc(maxBytes + 1);
  const untilMs = systemClock.nowMs() + waitMs;
  let length = 0;
  try {
    while (length < buffer.length) {
      const bytes = await readNow(file, buffer, length);
      // Before its first bytes a pipe without a writer is at its end, too.
      if (bytes === 0 && (length > 0 || !isPipe)) break;
      length += bytes ?? 0;
      if (bytes !== 0 && bytes !== null) continue;
      if (systemClock.nowMs() > untilMs) throw nothingCame(path, waitMs);
      await systemClock.sleep(LOOK_MS);
    }
    return Buffer.from(buffer.subarray(0, length));
  } finally {
    buffer.fill(0);
    await file.close();
  }
}

/** @returns null where nothing is there yet */
async function readNow(file: FileHandle, buffer: Buffer, at: number): Promise<number | null> {
  try {
    return (await file.read(buffer, at, buffer.length - at)).bytesRead;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EAGAIN') return null;
    throw error;
  }
}

function nothingCame(path: string, waitMs: number): RawstorError {
  return new RawstorError('TIMEOUT', `no whole key came within ${waitMs / 1000} s`, {
    where: path,
    hint: 'see what is to write to it; a server is better given a file',
  });
}
