import { z } from 'zod';
import { decodeBody, encodeBody } from '../../protocol/index.js';
import { RecordType, singleKey } from '../record-codec.js';
import type { Records } from '../records.js';
import type { Change } from '../store.js';

const stateSchema = z.object({
  /** Of the scrub of everything that runs, or ran last. */
  startedWallMs: z.number(),
  /** Null while it runs. */
  finishedWallMs: z.number().nullable(),
  /** What was begun last: there it goes on after a restart. */
  at: z
    .object({ objectId: z.string(), chunk: z.number(), version: z.number(), region: z.number() })
    .nullable(),
});

/** How far the background scrub has come. */
export type ScrubState = z.infer<typeof stateSchema>;

/** Null where there is none, or none that can be read: it begins anew. */
export function readScrubState(records: Records): ScrubState | null {
  const value = records.value(singleKey(RecordType.SCRUB));
  if (value === undefined) return null;
  try {
    return stateSchema.parse(decodeBody(value));
  } catch {
    return null;
  }
}

export function scrubStateChange(state: ScrubState): Change {
  return { key: singleKey(RecordType.SCRUB), value: encodeBody(state) };
}
