import type { Clock } from '../common/clock.js';
import { asRawstorError, type ErrorCode, RawstorError } from '../common/errors.js';
import type { Logger } from '../common/log.js';
import type { Io } from '../io/types.js';
import { Connection } from '../protocol/connection.js';
import { ASKS_ONLY, type ConnectionHandler } from '../protocol/connection-handler.js';
import type { Identity } from '../protocol/hello.js';
import type { MethodName, Params, Result } from '../protocol/messages.js';
import { mostHopeful, type Patience, patiently, tryTimeoutMs } from './patience.js';

const RETRY_MS = 200;
const CONNECT_TIMEOUT_MS = 3000;
/** No answer, or one that says nothing of the call: a metadata store without space may find some. */
const UNDECIDED: ReadonlySet<ErrorCode> = new Set([
  'UNAVAILABLE',
  'TIMEOUT',
  'CONNECTION_LOST',
  'LIMIT',
  'BUSY',
  'NO_SPACE',
  'IO',
]);

/** A standing connection to a server of the control plane: made when needed, made again when lost. */
export class ControlLink {
  private readonly io: Io;
  private readonly clock: Clock;
  private readonly log: Logger;
  private readonly identity: Identity;
  private readonly addresses: readonly string[];
  private readonly role: 'mds' | 'mgs';
  private readonly patience: Patience | undefined;
  private connection: Connection | null = null;
  private connecting: Promise<Connection> | null = null;
  private closed = false;
  private readonly watchers = new Set<(connected: boolean) => void>();
  private readonly listeners = new Set<(name: string, params: unknown) => void>();

  constructor(
    env: { io: Io; clock: Clock; log: Logger; identity: Identity },
    role: 'mds' | 'mgs',
    addresses: readonly string[],
    patience?: Patience,
  ) {
    this.io = env.io;
    this.clock = env.clock;
    this.log = env.log;
    this.identity = env.identity;
    this.role = role;
    this.addresses = addresses;
    this.patience =
      patience === undefined
        ? undefined
        : { ...patience, ended: () => this.closed || patience.ended?.() === true };
  }

  /** One try, once there is a connection. @throws RawstorError of the server, or UNAVAILABLE naming every address tried */
  async call<M extends MethodName>(method: M, params: Params<M>, timeoutMs = 10_000): Promise<Result<M>> {
    const connection = await this.connected();
    return connection.call(method, params, timeoutMs);
  }

  /**
   * Asks until it is answered, whatever happens to connections meanwhile: for calls that carry a request id or
   * change nothing. Ends only when `giveUp` says so.
   * @param decides codes that are an answer of this method, though elsewhere they say nothing of the call
   */
  async callUntilAnswered<M extends MethodName>(
    method: M,
    params: Params<M>,
    giveUp: () => boolean,
    decides: readonly ErrorCode[] = [],
  ): Promise<Result<M>> {
    for (;;) {
      try {
        return await this.call(method, params, 5000);
      } catch (error) {
        const failure = asRawstorError(error);
        const decided = !UNDECIDED.has(failure.code) || decides.includes(failure.code);
        if (decided || giveUp() || this.closed) throw failure;
        this.log.debug({ method, reason: failure.message }, 'not answered, asking again');
        await this.clock.sleep(RETRY_MS);
      }
    }
  }

  /** Tells of each connection and each loss of one, for who keeps something alive on it. @returns ends it */
  watch(changed: (connected: boolean) => void): () => void {
    this.watchers.add(changed);
    return () => void this.watchers.delete(changed);
  }

  /** Gives on what the server tells unasked. @returns ends it */
  onEvent(told: (name: string, params: unknown) => void): () => void {
    this.listeners.add(told);
    return () => void this.listeners.delete(told);
  }

  close(): void {
    this.closed = true;
    this.connection?.end();
    this.connection = null;
  }

  private async connected(): Promise<Connection> {
    if (this.closed) throw this.isClosed();
    if (this.connection !== null && !this.connection.closed) return this.connection;
    this.connecting ??= patiently(this.clock, this.patience, () => this.connect()).finally(() => {
      this.connecting = null;
    });
    return this.connecting;
  }

  private async connect(): Promise<Connection> {
    const failures: RawstorError[] = [];
    const said: string[] = [];
    for (const address of this.addresses) {
      try {
        const connection = await Connection.connect(this.io, address, {
          identity: this.identity,
          clock: this.clock,
          handler: this.handler(),
          timeoutMs: tryTimeoutMs(this.clock, this.patience, CONNECT_TIMEOUT_MS),
        });
        // Closed meanwhile: nobody would close this one.
        if (this.closed) {
          connection.destroy();
          throw this.isClosed();
        }
        if (connection.remote?.role !== this.role) {
          connection.destroy();
          throw new RawstorError('PROTOCOL', `a ${connection.remote?.role} answers here, not a ${this.role}`);
        }
        this.connection = connection;
        this.tell(true);
        return connection;
      } catch (error) {
        const failure = asRawstorError(error, address);
        if (this.closed || failure.code === 'VERSION' || failure.code === 'DENIED') throw failure;
        failures.push(failure);
        said.push(`${address}: ${failure.message}`);
      }
    }
    throw new RawstorError('UNAVAILABLE', `no ${this.role.toUpperCase()} answers`, {
      where: said.join('; ') || 'no address known',
      cause: mostHopeful(failures),
      hint: `start it with 'rawstor serve ${this.role}' (or 'rawstor up'), or check --location`,
    });
  }

  private isClosed(): RawstorError {
    return new RawstorError('UNAVAILABLE', `the link to the ${this.role} is closed`);
  }

  private tell(connected: boolean): void {
    for (const changed of [...this.watchers]) changed(connected);
  }

  private handler(): ConnectionHandler {
    return {
      ...ASKS_ONLY,
      event: (_connection, name, params) => {
        for (const told of [...this.listeners]) told(name, params);
      },
      closed: (connection) => {
        if (this.connection !== connection) return;
        this.connection = null;
        this.tell(false);
      },
    };
  }
}
