import type { ControlLink } from '../../client/index.js';
import type { Clock, Timer } from '../../common/clock.js';
import { asRawstorError } from '../../common/errors.js';
import type { Logger } from '../../common/log.js';
import type { ServerInfo } from '../../protocol/index.js';

const PERIOD_MS = 2000;

/** Tells the management server every two seconds that this gateway is there. Nothing else depends on it. */
export class Registration {
  private readonly mgs: ControlLink;
  private readonly info: () => ServerInfo;
  private readonly log: Logger;
  private readonly timer: Timer;
  private busy = false;
  private lastFailure = '';

  constructor(mgs: ControlLink, info: () => ServerInfo, env: { clock: Clock; log: Logger }) {
    this.mgs = mgs;
    this.info = info;
    this.log = env.log;
    this.timer = env.clock.every(PERIOD_MS, () => void this.tell());
    void this.tell();
  }

  close(): void {
    this.timer.cancel();
  }

  private async tell(): Promise<void> {
    if (this.busy) return;
    this.busy = true;
    try {
      await this.mgs.call('mgs.register', this.info(), PERIOD_MS);
      this.lastFailure = '';
    } catch (error) {
      const reason = asRawstorError(error).message;
      if (reason !== this.lastFailure) this.log.warn({ reason }, 'the MGS cannot be told');
      this.lastFailure = reason;
    } finally {
      this.busy = false;
    }
  }
}
