import { VHOST_LIMITS } from './constants.js';

interface Waiting {
  /** There may be some left. */
  wake(): void;
}

/** Requests of one device in flight; rings that find none left are run again when some have ended. */
export class RequestBudget {
  private left: number = VHOST_LIMITS.inFlight;
  private waiting: Waiting[] = [];

  take(ring: Waiting): boolean {
    if (this.left > 0) {
      this.left--;
      return true;
    }
    if (!this.waiting.includes(ring)) this.waiting.push(ring);
    return false;
  }

  /** For what was taken before this process began. */
  force(): void {
    this.left--;
  }

  giveBack(): void {
    this.left++;
    if (this.left > 0 && this.waiting.length > 0) this.waiting.shift()!.wake();
  }
}
