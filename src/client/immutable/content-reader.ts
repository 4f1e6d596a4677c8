import { cut, type Extent } from './extent.js';
import type { OpenObjects } from './open-objects.js';
import { STEP_BYTES, type Transfers } from './transfers.js';

/** Steps read ahead for one reader: they are on different replicas by turns. */
const AHEAD = 4;

/**
 * Reads a range of a content in order, some steps ahead from the second on: of all readers together there are only so many, and
 * one that gets none has its step read when it asks for it. @throws RawstorError of the device
 */
export async function* readContent(
  open: OpenObjects,
  transfers: Transfers,
  extents: readonly Extent[],
  from: number,
  to: number,
): AsyncGenerator<Buffer, undefined> {
  const wanted = cut(extents, from, to);
  const steps = stepsOf(wanted);
  // What is replaced or removed meanwhile stays for as long as somebody here reads it, however slowly.
  const release = open.hold(wanted.map(({ objectId }) => objectId));
  const queue: { readonly read: Promise<Buffer>; readonly isAhead: boolean }[] = [];
  /** @returns false at the end */
  const begin = (isAhead: boolean): boolean => {
    const { value, done } = steps.next();
    if (done === true) return false;
    const read = readStep(open, transfers, value);
    // Its failure is seen when its turn comes.
    read.catch(() => {});
    queue.push({ read, isAhead });
    return true;
  };
  const fill = () => {
    while (queue.length < AHEAD && transfers.beginAhead()) {
      if (begin(true)) continue;
      transfers.endAhead();
      return;
    }
  };
  try {
    for (let first = true; queue.length > 0 || begin(false); first = false) {
      const { read, isAhead } = queue.shift()!;
      if (isAhead) transfers.endAhead();
      const bytes = await read;
      if (!first) fill();
      yield bytes;
    }
  } finally {
    for (const { isAhead } of queue) if (isAhead) transfers.endAhead();
    await Promise.allSettled(queue.map(({ read }) => read));
    release();
  }
}

function* stepsOf(extents: readonly Extent[]): Generator<Extent, undefined> {
  for (const extent of extents) {
    for (let done = 0; done < extent.length; ) {
      const offset = extent.offset + done;
      // So that a step is no more than one buffer, whole sectors of it included.
      const length = Math.min(STEP_BYTES - (offset % STEP_BYTES), extent.length - done);
      yield { ...extent, offset, length };
      done += length;
    }
  }
}

async function readStep(open: OpenObjects, transfers: Transfers, step: Extent): Promise<Buffer> {
  for (let tries = 1; ; tries++) {
    const { device, release } = await open.borrow(step);
    try {
      return await transfers.read(device, step.offset, step.length);
    } catch (error) {
      // It was sealed and closed here just now: from then on it is read like any other.
      if (tries === 2) throw error;
    } finally {
      release();
    }
  }
}
