import { RawstorError } from '../common/errors.js';

/** It is possible in a moment, or when something else is done: nothing has been changed that anybody sees. */
export class NotYet extends RawstorError {
  constructor(message: string, where: string) {
    super('BUSY', message, { where, hint: 'wait until the replicas are in order: `rawstor status`' });
  }
}

/** Steps of a change as the loop that changes the set has them done. */
export interface ChangeSteps {
  /** Passes the outcome on, or gives up when something is more urgent. */
  wait<T>(step: Promise<T>): Promise<T>;
  /** Waits for the MDS. */
  swap(answer: Promise<void>): Promise<void>;
  /** Every member in sync keeps the new record, or is lost; then acknowledgements that were held for it go out. */
  store(): Promise<void>;
  /** The same for a record that nothing is held for. */
  storeAhead(): Promise<void>;
}
