import { ControlLink } from '../../client/index.js';
import type { Clock, Timer } from '../../common/clock.js';
import { asRawstorError } from '../../common/errors.js';
import type { Logger } from '../../common/log.js';
import type { Io } from '../../io/index.js';
import type { ServerInfo } from '../../protocol/index.js';
import { processName } from '../process-name.js';

const PERIOD_MS = 2000;
/** Not longer: it is ending, and where nobody hears of that the MGS sees it go. */
const GOODBYE_MS = 1000;

/** Tells the management server every two seconds that this gateway is there. Nothing else depends on it. */
export class Registration {
  private readonly mgs: ControlLink;
  private readonly info: () => ServerInfo;
  private readonly log: Logger;
  private readonly timer: Timer;
  private telling: Promise<void> | null = null;
  private lastFailure = '';

  constructor(mgs: ControlLink, info: () => ServerInfo, env: { clock: Clock; log: Logger }) {
    this.mgs = mgs;
    this.info = info;
    this.log = env.log;
    this.timer = env.clock.every(PERIOD_MS, () => this.tick());
    this.tick();
  }

  /** Tells nothing more: another one goes on. */
  stop(): void {
    this.timer.cancel();
  }

  /** Says goodbye: nobody has to look for this gateway. */
  async close(): Promise<void> {
    this.stop();
    // What is on its way would put it on the list again.
    await this.telling;
    if (this.lastFailure !== '') return;
    const { role, id } = this.info();
    await this.mgs.call('mgs.leave', { role, id }, GOODBYE_MS).catch((error) => {
      this.log.debug({ reason: asRawstorError(error).message }, 'no goodbye to the MGS');
    });
  }

  private tick(): void {
    this.telling ??= this.tell().finally(() => {
      this.telling = null;
    });
  }

  private async tell(): Promise<void> {
    try {
      await this.mgs.call('mgs.register', this.info(), PERIOD_MS);
      this.lastFailure = '';
    } catch (error) {
      const reason = asRawstorError(error).message;
      if (reason !== this.lastFailure) this.log.warn({ reason }, 'the MGS cannot be told');
      this.lastFailure = reason;
    }
  }
}

/** A standing connection to the management servers, null when there are none. */
export function mgsLink(
  addresses: readonly string[],
  env: { io: Io; clock: Clock; log: Logger },
  name = 'rawstor-nbd',
  clusterId = '',
): ControlLink | null {
  if (addresses.length === 0) return null;
  const identity = { role: 'client' as const, clusterId, name: processName(name) };
  return new ControlLink({ ...env, identity }, 'mgs', addresses);
}
