import { z } from 'zod';
import { idSchema } from './records.js';

/** Events of an MDS: told unasked, never answered. */

/** Objects of an OST were removed, `{objects: [id]}`. */
export const EVENT_DELETED = 'mds.deleted';
/** To the holder of a lease, a notice. */
export const EVENT_NOTICE = 'mds.notice';

export const noticeSchema = z.object({
  id: idSchema,
  /** Of the session that is meant. */
  sessionEpoch: z.number().int().nonnegative(),
  /** `look`: something of the object may concern you. `fenced`: the session is over. Others are passed over. */
  what: z.string().max(64),
  /** For people. */
  reason: z.string().max(1024),
});
export type Notice = z.infer<typeof noticeSchema>;
