import { VHOST_LIMITS } from './constants.js';

/** Chains that a ring takes in a row, before all else is let in: a guest's other processors can keep it full for ever. */
export class RowLimit {
  private readonly goOn: () => void;
  private left: number = VHOST_LIMITS.takenInRow;
  /** Until the ring is run again. */
  resting = false;

  constructor(goOn: () => void) {
    this.goOn = goOn;
  }

  /** @returns false where it has to be left for later */
  take(): boolean {
    if (this.left-- > 0) return true;
    this.resting = true;
    setImmediate(() => {
      this.resting = false;
      this.left = VHOST_LIMITS.takenInRow;
      this.goOn();
    });
    return false;
  }
}
