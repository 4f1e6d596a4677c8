import { cut, type Extent } from './extent.js';
import type { OpenObjects } from './open-objects.js';
import { STEP_BYTES, type Transfers } from './transfers.js';

/** Steps read ahead for one reader: they are on different replicas by turns. */
const AHEAD = 4;

/** Reads a range of a content in order, some steps ahead. @throws RawstorError of the device */
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
  const queue: Promise<Buffer>[] = [];
  const ahead = () => {
    const { value, done } = steps.next();
    if (done === true) return;
    const read = readStep(open, transfers, value);
    // Its failure is seen when its turn comes.
    read.catch(() => {});
    queue.push(read);
  };
  try {
    for (let i = 0; i < AHEAD; i++) ahead();
    for (let head = queue.shift(); head !== undefined; head = queue.shift()) {
      const bytes = await head;
      ahead();
      yield bytes;
    }
  } finally {
    await Promise.allSettled(queue);
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
