import { RawstorError } from '../common/errors.js';
import type { VolumeState } from './volume-state.js';

/** Why a volume is not opened while these are away, and what can be done. */
export function notWhole(state: VolumeState, waitFor: readonly string[]): RawstorError {
  const where = waitFor.map((id) => `OST ${id} ${state.member(id)?.addresses.join(' ')}`);
  return new RawstorError('UNAVAILABLE', `volume ${state.name} has no complete replica that can be reached`, {
    where: where.join(', '),
    hint:
      'start that OST again: no other has everything that was written. To give its newest data up for good: ' +
      '`rawstor-volume attach --accept-loss`',
  });
}

/** A loss is told to whoever uses the volume, so it is not decided on by who only repairs it (I8). */
export function notForRepair(name: string): RawstorError {
  return new RawstorError('LOSS', 'acknowledged writes are lost: whoever uses the volume is to be told', {
    where: `volume ${name}`,
    hint: 'open it, and check what is inside',
  });
}

export function openForReading(name: string): RawstorError {
  return new RawstorError('READ_ONLY', `volume ${name} is open for reading only`);
}

/** Nobody waits any longer for what it waits for. */
export function abandoned(name: string): RawstorError {
  return new RawstorError('UNAVAILABLE', 'it was detached by force while it waited', {
    where: `volume ${name}`,
    hint: 'what was not answered may have been written or not, as after a crash',
  });
}
