import { asRawstorError } from '../common/errors.js';
import type { Drain } from './drain.js';
import { sealDue } from './seal-due.js';
import type { VolumeState } from './volume-state.js';

/** Asks for a seal when one is due, so that a crash leaves little to reconcile. */
export class Sealer {
  private readonly state: VolumeState;
  private readonly writes: Drain;
  private readonly seal: () => Promise<void>;
  private sealing = false;

  constructor(state: VolumeState, writes: Drain, seal: () => Promise<void>) {
    this.state = state;
    this.writes = writes;
    this.seal = seal;
  }

  /** To be called now and then, and with `flushed` when a flush of the guest has succeeded. */
  look(flushed = false): void {
    const { state } = this;
    if (this.sealing || !state.unsealed.any || state.unreconciled.size > 0) return;
    if (state.closing || state.fatal !== null) return;
    const nowMs = state.env.clock.nowMs();
    const due = sealDue(state.env.seals, {
      sinceWriteMs: nowMs - state.lastWriteAtMs,
      sinceOldestMs: nowMs - state.unsealed.sinceMs,
      sinceSealMs: nowMs - state.lastSealAtMs,
      unsealedBytes: state.unsealed.bytes,
      flushed: flushed && this.allDurable(),
    });
    if (!due) return;
    this.sealing = true;
    this.seal()
      .catch((error) => state.env.log.debug({ reason: asRawstorError(error).message }, 'no seal now'))
      .finally(() => {
        this.sealing = false;
      });
  }

  private allDurable(): boolean {
    return this.writes.size === 0 && this.state.members.every((member) => !member.required || !member.dirty);
  }
}
