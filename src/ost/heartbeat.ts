import type { Timer } from '../common/clock.js';
import { asRawstorError, RawstorError } from '../common/errors.js';
import {
  ASKS_ONLY,
  Connection,
  type Identity,
  type OstInfo,
  type Params,
  type Result,
} from '../protocol/index.js';
import type { OstEnvironment } from './environment.js';
import { type Remover, ToldRemovals } from './told-removals.js';

const TIMEOUT_MS = 3000;
const REPORT_TIMEOUT_MS = 30_000;

/** Tells one MDS, every few seconds, that this OST is up; has removed what it says was removed. */
export class Heartbeat {
  private readonly env: OstEnvironment;
  private readonly address: string;
  private readonly identity: Identity;
  private readonly info: () => OstInfo;
  private readonly owner: Remover & {
    joined(clusterId: string): Promise<void>;
    draining(draining: boolean): Promise<void>;
  };
  private readonly removals: ToldRemovals;
  private readonly timer: Timer;
  private connection: Connection | null = null;
  private running: Promise<void> | null = null;
  private failure = '';

  constructor(
    env: OstEnvironment,
    address: string,
    identity: Identity,
    periodMs: number,
    info: () => OstInfo,
    owner: Heartbeat['owner'],
  ) {
    this.env = env;
    this.address = address;
    this.identity = identity;
    this.info = info;
    this.owner = owner;
    this.removals = new ToldRemovals(env.log, owner, (method, objects) => this.confirm(method, objects));
    this.timer = env.clock.every(periodMs, () => this.beat());
    this.beat();
  }

  async close(): Promise<void> {
    this.timer.cancel();
    this.removals.close();
    this.connection?.destroy();
    await this.running;
    this.connection?.destroy();
  }

  get connected(): boolean {
    return this.connection !== null && !this.connection.closed;
  }

  /** @throws RawstorError UNAVAILABLE */
  async report(asked: Params<'mds.reportObjects'>): Promise<Result<'mds.reportObjects'>> {
    if (this.connection === null) {
      throw new RawstorError('UNAVAILABLE', 'the MDS is not connected', { where: this.address });
    }
    return this.connection.call('mds.reportObjects', asked, REPORT_TIMEOUT_MS);
  }

  private beat(): void {
    this.running ??= this.once().finally(() => {
      this.running = null;
    });
  }

  private async once(): Promise<void> {
    const { io, clock, log } = this.env;
    try {
      if (this.connection === null || this.connection.closed) {
        this.connection = await Connection.connect(io, this.address, {
          identity: this.identity,
          clock,
          timeoutMs: TIMEOUT_MS,
          handler: {
            ...ASKS_ONLY,
            event: () => setImmediate(() => this.beat()),
          },
        });
      }
      await this.register(this.connection);
      if (this.failure !== '') log.info({ mds: this.address }, 'registered with the MDS');
      this.failure = '';
    } catch (error) {
      const reason = asRawstorError(error).toUserText();
      if (reason !== this.failure) log.warn({ mds: this.address, reason }, 'the MDS cannot be told');
      this.failure = reason;
      this.connection?.destroy();
      this.connection = null;
    }
  }

  private async register(connection: Connection): Promise<void> {
    const { removals } = this;
    const wasIdle = removals.idle;
    const { clusterId, draining, ...told } = await connection.call(
      'mds.registerOst',
      this.info(),
      TIMEOUT_MS,
    );
    await this.owner.joined(clusterId);
    if (draining !== undefined) await this.owner.draining(draining);
    if (wasIdle) removals.begin(told, () => this.beat());
  }

  private async confirm(
    method: 'mds.confirmDeleted' | 'mds.confirmLeft',
    objects: readonly string[],
  ): Promise<void> {
    // Where it is away, or ends before it is answered, the next registration is answered with them again.
    await this.connection?.call(method, { ostId: this.info().ostId, objects: [...objects] }, TIMEOUT_MS);
  }
}
