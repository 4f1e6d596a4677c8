import type { Clock, Timer } from '../common/clock.js';
import { asRawstorError } from '../common/errors.js';
import type { Logger } from '../common/log.js';
import type { Address, Io } from '../io/types.js';
import { Connection } from './connection.js';
import { ASKS_ONLY } from './connection-handler.js';
import type { Identity } from './hello.js';
import type { ServerInfo } from './mgs-messages.js';

const PERIOD_MS = 2000;
const TIMEOUT_MS = 3000;

/** Tells one MGS every two seconds that this server is up. An MGS that is away is only logged: nothing needs it. */
export class MgsReporter {
  private readonly env: { io: Io; clock: Clock; log: Logger };
  private readonly address: Address;
  private readonly identity: Identity;
  private readonly info: () => ServerInfo;
  private readonly timer: Timer;
  private connection: Connection | null = null;
  private reporting: Promise<void> | null = null;
  private lastFailure = '';

  constructor(
    env: { io: Io; clock: Clock; log: Logger },
    address: Address,
    identity: Identity,
    info: () => ServerInfo,
  ) {
    this.env = env;
    this.address = address;
    this.identity = identity;
    this.info = info;
    this.timer = env.clock.every(PERIOD_MS, () => this.tick());
    this.tick();
  }

  async close(): Promise<void> {
    this.timer.cancel();
    this.connection?.destroy();
    await this.reporting;
    this.connection?.destroy();
  }

  private tick(): void {
    if (this.reporting !== null) return;
    this.reporting = this.report().finally(() => {
      this.reporting = null;
    });
  }

  private async report(): Promise<void> {
    const { io, clock, log } = this.env;
    try {
      if (this.connection === null || this.connection.closed) {
        const options = { identity: this.identity, clock, handler: ASKS_ONLY, timeoutMs: TIMEOUT_MS };
        this.connection = await Connection.connect(io, this.address, options);
      }
      await this.connection.call('mgs.register', this.info(), TIMEOUT_MS);
      if (this.lastFailure !== '') log.info({ mgs: this.address }, 'registered with the MGS');
      this.lastFailure = '';
    } catch (error) {
      const failure = asRawstorError(error).toUserText();
      if (failure !== this.lastFailure)
        log.warn({ mgs: this.address, reason: failure }, 'the MGS cannot be told');
      this.lastFailure = failure;
      this.connection?.destroy();
      this.connection = null;
    }
  }
}
