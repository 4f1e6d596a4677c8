import { type BlockDevice, BlockOp } from '../../block/index.js';
import { RawstorError } from '../../common/errors.js';
import type { Io } from '../../io/index.js';
import { Lane } from './lane.js';

/**
 * Makes what was written durable, as a guest does: its flush alone is told that acknowledged writes were lost on the way. A close and a
 * snapshot flush too, and leave that to the guest (I8), which a copy does not have.
 * @throws RawstorError LOSS; those of a flush
 */
export async function flushAsGuest(io: Pick<Io, 'pool'>, device: BlockDevice, name: string): Promise<void> {
  const lane = new Lane(io);
  try {
    await lane.device(device, BlockOp.FLUSH, 0, 0);
  } catch (error) {
    if (!(error instanceof RawstorError) || error.code !== 'LOSS') throw error;
    throw new RawstorError('LOSS', 'a part of what was written is lost', {
      where: `volume ${name}`,
      hint: 'an OST lost power, or its disk failed: see `rawstor status`, then give the command again',
      cause: error,
    });
  } finally {
    lane.release();
  }
}

/**
 * Before anything is written over a volume: a loss on record that nobody was told of is heard here, or the flush at the end would take it
 * for one of the copy's own writes.
 */
export async function hearOlderLoss(
  io: Pick<Io, 'pool'>,
  device: BlockDevice,
  name: string,
  warn: (text: string) => void,
): Promise<void> {
  try {
    await flushAsGuest(io, device, name);
  } catch (error) {
    if (!(error instanceof RawstorError) || error.code !== 'LOSS') throw error;
    warn(`${name} had lost writes that were not flushed, before this: it keeps the mark of that`);
  }
}
