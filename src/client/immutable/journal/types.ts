import type { Row } from '../catalog.js';

/** Rows of the catalog without a journal around: for those that the journals themselves have there. */
export interface PlainRows {
  /** @returns the revision */
  put(
    puts: readonly { readonly key: string; readonly value: unknown }[],
    deletes: readonly string[],
  ): Promise<number>;
  get(key: string): Promise<Row | null>;
  all<T>(from: string, to: string): AsyncGenerator<Row<T>, undefined>;
}
