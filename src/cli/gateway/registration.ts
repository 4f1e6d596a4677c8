import type { Clock, Timer } from '../../common/clock.js';
import type { Logger } from '../../common/log.js';
import type { Io } from '../../io/index.js';
import type { ServerInfo } from '../../protocol/index.js';
import { ServerLink } from '../server-link.js';

const PERIOD_MS = 2000;

export interface RegistrationOptions {
  readonly mgsAddresses: readonly string[];
  readonly info: () => ServerInfo;
  readonly io: Io;
  readonly clock: Clock;
  readonly log: Logger;
  readonly name: string;
}

/** Tells the management server every few seconds that this server is there. */
export class Registration {
  private readonly options: RegistrationOptions;
  private readonly timer: Timer;
  private link: ServerLink | null = null;
  private busy = false;
  private failing = false;
  private closed = false;

  constructor(options: RegistrationOptions) {
    this.options = options;
    this.timer = options.clock.every(PERIOD_MS, () => void this.tell());
    void this.tell();
  }

  close(): void {
    this.closed = true;
    this.timer.cancel();
    this.link?.close();
  }

  private async tell(): Promise<void> {
    if (this.busy || this.closed) return;
    this.busy = true;
    const { mgsAddresses, io, clock, name, log } = this.options;
    try {
      if (this.link === null || this.link.closed) {
        this.link = await ServerLink.open(mgsAddresses, { io, clock, name, timeoutMs: PERIOD_MS });
      }
      await this.link.call('mgs.register', this.options.info(), PERIOD_MS);
      if (this.failing) log.info('registered at the management server again');
      this.failing = false;
    } catch (error) {
      if (!this.failing && !this.closed) log.warn({ err: error }, 'cannot register at the management server');
      this.failing = true;
      this.link?.close();
      this.link = null;
    } finally {
      this.busy = false;
      if (this.closed) this.link?.close();
    }
  }
}
