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
  /** The OST that is to answer: another one may have come to its address. */
  readonly ostId?: string;
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

  /** The first of the addresses where it answers. @throws RawstorError of the last one tried */
  static async open(addresses: readonly string[], options: LinkOptions): Promise<ServerLink> {
    const { io, clock, name, timeoutMs, ostId } = options;
    let failure = new RawstorError('UNAVAILABLE', 'no address to connect to');
    for (const address of addresses) {
      try {
        const connection = await Connection.connect(io, address, {
          identity: { role: 'client', clusterId: '', name },
          clock,
          handler: ASKS_ONLY,
          timeoutMs,
        });
        const answering = connection.remote?.serverId;
        if (ostId === undefined || answering === ostId) return new ServerLink(connection);
        connection.destroy();
        throw notThatOst(ostId, answering, address);
      } catch (error) {
        failure = asRawstorError(error, address);
      }
    }
    throw failure;
  }

  get role(): Hello['role'] | undefined {
    return this.connection.remote?.role;
  }

  /** Of an OST: which one it is. */
  get serverId(): string | undefined {
    return this.connection.remote?.serverId;
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

function notThatOst(ostId: string, answering: string | undefined, where: string): RawstorError {
  const who = answering === undefined ? 'another server' : `OST ${answering}`;
  return new RawstorError('UNAVAILABLE', `${who} answers there, not OST ${ostId}`, {
    where,
    hint: 'start it on its own directory: is its disk mounted?',
  });
}
