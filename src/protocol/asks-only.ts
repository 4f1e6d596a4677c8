import { RawstorError } from '../common/errors.js';
import type { ConnectionHandler } from './connection.js';

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
