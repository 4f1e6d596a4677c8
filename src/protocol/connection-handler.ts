import { RawstorError } from '../common/errors.js';
import type { PoolBuffer } from '../io/pool.js';
import type { Connection } from './connection.js';
import type { FrameHeader } from './frame.js';
import type { MethodName } from './messages.js';

/** What a connection gives to the one who owns it. Errors thrown by `call` are answered to the asker. */
export interface ConnectionHandler {
  call(connection: Connection, method: MethodName, params: unknown): Promise<unknown>;
  /** A data frame (PING and up). The payload is the stream's: retain the buffer to keep it. */
  data(connection: Connection, header: FrameHeader, buffer: PoolBuffer | null, offset: number): void;
  event(connection: Connection, name: string, params: unknown): void;
  closed(connection: Connection, error: Error | null): void;
  /**
   * Of an accepted connection: data frames are not answered yet. A peer that has ended its side keeps the
   * connection until they are; whoever says so calls `Connection.answered` when they are.
   */
  busy?(): boolean;
}

/**
 * Handler of a connection on which this program only asks: calls from the other side are refused, data frames
 * end it. Spread it and replace what is wanted otherwise.
 */
export const ASKS_ONLY: ConnectionHandler = {
  call: async (_connection, method) => {
    throw new RawstorError('NOT_SUPPORTED', `this program answers no calls, so not ${method}`);
  },
  data: (connection) =>
    connection.destroy(new RawstorError('PROTOCOL', 'a data frame to a program that only asks')),
  event: () => {},
  closed: () => {},
};
