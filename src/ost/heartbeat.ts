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
import { removeEach } from './told-removals.js';

const TIMEOUT_MS = 3000;
const REPORT_TIMEOUT_MS = 30_000;

/** Tells one MDS, every few seconds, that this OST is up; removes what it says was removed. */
export class Heartbeat {
  private readonly env: OstEnvironment;
  private readonly address: string;
  private readonly identity: Identity;
  private readonly info: () => OstInfo;
  private readonly owner: {
    joined(clusterId: string): Promise<void>;
    draining(draining: boolean): Promise<void>;
    deleteObject(id: string): Promise<void>;
    leaveObject(id: string, epoch: number): Promise<void>;
  };
  private readonly timer: Timer;
  private connection: Connection | null = null;
  private running: Promise<void> | null = null;
  private failure = '';
  /** Why, by object, as logged last. */
  private readonly undeleted = new Map<string, string>();

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
    this.timer = env.clock.every(periodMs, () => this.beat());
    this.beat();
  }

  async close(): Promise<void> {
    this.timer.cancel();
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
    const info = this.info();
    const answer = await connection.call('mds.registerOst', info, TIMEOUT_MS);
    await this.owner.joined(answer.clusterId);
    if (answer.draining !== undefined) await this.owner.draining(answer.draining);
    await this.leave(connection, info.ostId, answer.leftObjects);
    if (answer.deletedObjects.length === 0) return;
    const objects = await this.deleted(answer.deletedObjects, (id) => this.owner.deleteObject(id));
    if (objects.length === 0) return;
    await connection.call('mds.confirmDeleted', { ostId: info.ostId, objects }, TIMEOUT_MS);
  }

  /** What lives elsewhere by now. */
  private async leave(
    connection: Connection,
    ostId: string,
    left: readonly { id: string; epoch: number }[],
  ): Promise<void> {
    if (left.length === 0) return;
    const epochs = new Map(left.map(({ id, epoch }) => [id, epoch]));
    const objects = await this.deleted([...epochs.keys()], (id) =>
      this.owner.leaveObject(id, epochs.get(id)!),
    );
    if (objects.length === 0) return;
    await connection.call('mds.confirmLeft', { ostId, objects }, TIMEOUT_MS);
  }

  /** @returns those that are gone: one that cannot be deleted keeps no other from it, and comes with the next answer */
  private async deleted(ids: readonly string[], remove: (id: string) => Promise<void>): Promise<string[]> {
    const gone = await removeEach(ids, remove, (id, error) => {
      const reason = error.toUserText();
      if (this.undeleted.get(id) !== reason) {
        const level = error.code === 'BUSY' ? 'info' : 'error';
        this.env.log[level]({ object: id, reason }, 'an object cannot be deleted');
      }
      this.undeleted.set(id, reason);
    });
    for (const id of gone) this.undeleted.delete(id);
    return gone;
  }
}
