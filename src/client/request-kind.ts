import { BlockFlag, BlockOp, type BlockRequest } from '../block/device.js';
import { RawstorError } from '../common/errors.js';
import { Opcode } from '../protocol/frame.js';
import { openForReading } from './not-whole.js';
import type { VolumeState } from './volume-state.js';

/** What block requests are to OSTs, and why one is refused. */

export function behindTheEnd({ name, object }: VolumeState): RawstorError {
  return new RawstorError('INVALID', `the range is behind the end, ${object.sizeBytes} bytes`, {
    where: `volume ${name}`,
    hint: 'the volume was made smaller',
  });
}

export function tooFew({ name }: VolumeState): RawstorError {
  return new RawstorError('UNAVAILABLE', 'too few replicas are in sync', {
    where: `volume ${name}`,
    hint: 'it was closed while it waited for more: start the missing OSTs',
  });
}

export function opcodeOf(block: BlockRequest): number {
  switch (block.op) {
    case BlockOp.READ:
      return Opcode.READ;
    case BlockOp.WRITE:
      return Opcode.WRITE;
    case BlockOp.DISCARD:
      return Opcode.ERASE;
    default:
      return allocatesZeroes(block) ? Opcode.WRITE : Opcode.ZERO;
  }
}

/** WRITE_ZEROES that may not leave holes: real zeros are written. */
export function allocatesZeroes(block: BlockRequest): boolean {
  return (block.flags & BlockFlag.MAY_UNMAP) === 0;
}

/** Why a request is not even begun; null where nothing speaks against it. */
export function refusal(block: BlockRequest, readOnly: boolean, name: string): RawstorError | null {
  if (block.op === BlockOp.READ) return null;
  if (readOnly) return openForReading(name);
  const fast = block.op === BlockOp.WRITE_ZEROES && (block.flags & BlockFlag.FAST_ZERO) !== 0;
  if (!fast || !allocatesZeroes(block)) return null;
  return new RawstorError('NOT_SUPPORTED', 'zeroes without holes are not faster than writing here');
}
