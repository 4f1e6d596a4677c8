import type { Clock } from '../common/clock.js';
import { asRawstorError, RawstorError } from '../common/errors.js';
import type { Io } from '../io/index.js';
import {
  ASKS_ONLY,
  Connection,
  type Hello,
  type MethodName,
  type Params,
  type Result,
} from '../protocol/index.js';
import type { Context } from './context.js';
import { processName } from './process-name.js';

export interface LinkOptions {
  readonly io: Io;
  readonly clock: Clock;
  readonly name: string;
  readonly timeoutMs: number;
}

export function linkOptions(context: Context, timeoutMs = context.globals.timeout): LinkOptions {
  return { io: context.io(), clock: context.clock, name: processName(context.program), timeoutMs };
}

/** Control calls to one server, for verbs that ask servers directly. */
export class ServerLink {
  private readonly connection: Connection;

  private constructor(connection: Connection) {
    this.connection = connection;
  }

  /** The first of the addresses that answers. @throws RawstorError of the last one tried */
  static async open(addresses: readonly string[], options: LinkOptions): Promise<ServerLink> {
    const { io, clock, name, timeoutMs } = options;
    let failure = new RawstorError('UNAVAILABLE', 'no address to connect to');
    for (const address of addresses) {
      try {
        const connection = await Connection.connect(io, address, {
          identity: { role: 'client', clusterId: '', name },
          clock,
          handler: ASKS_ONLY,
          timeoutMs,
        });
        return new ServerLink(connection);
      } catch (error) {
        failure = asRawstorError(error, address);
      }
    }
    throw failure;
  }

  get role(): Hello['role'] | undefined {
    return this.connection.remote?.role;
  }

  /** '' where it knows none yet. */
  get clusterId(): string {
    return this.connection.remote?.clusterId ?? '';
  }

  /** Program, host and process, as it says. */
  get process(): string {
    return this.connection.remote?.name ?? '';
  }

  get closed(): boolean {
    return this.connection.closed;
  }

  call<M extends MethodName>(method: M, params: Params<M>, timeoutMs: number): Promise<Result<M>> {
    return this.connection.call(method, params, timeoutMs);
  }

  close(): void {
    this.connection.destroy();
  }
}
