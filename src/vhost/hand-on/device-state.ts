import { z } from 'zod';

/**
 * What one process tells another of a device that it hands on, beside the descriptors; these come in the order in which
 * the state names them: the listening socket, then, of a connected front-end, its socket, memory regions, for each ring
 * kick, call and error, the in-flight area, the dirty log, the back-end's channel.
 */

const count = z.number().int().nonnegative().max(Number.MAX_SAFE_INTEGER);
const bits = z.string().regex(/^\d{1,20}$/);

const addressesSchema = z.object({
  index: count,
  logged: z.boolean(),
  descriptors: count,
  used: count,
  available: count,
  logAddress: count,
});

const ringSchema = z.object({
  size: count,
  base: count,
  addresses: addressesSchema.nullable(),
  enabled: z.boolean(),
  started: z.boolean(),
  /** By the guest, and so served no more. */
  broken: z.boolean().default(false),
  /** Which of kick, call and error come along. */
  fds: z.tuple([z.boolean(), z.boolean(), z.boolean()]),
});

const sessionSchema = z.object({
  features: bits,
  protocolFeatures: bits,
  status: bits,
  writeback: z.boolean(),
  writebackKnown: z.boolean().default(true),
  regions: z.array(z.object({ guestAddress: count, sizeBytes: count, userAddress: count, mapOffset: count })),
  rings: z.array(ringSchema),
  inflight: z.object({ sizeBytes: count, mapOffset: count, queues: count, queueSize: count }).nullable(),
  dirtyLog: z.object({ sizeBytes: count, mapOffset: count }).nullable(),
  backend: z.boolean(),
});
export type SessionState = z.infer<typeof sessionSchema>;

export const deviceStateSchema = z.object({
  /** Of this layout; another one is refused. */
  version: z.literal(1),
  /** Of the listening socket's file, null where there is none; no listening socket at all: absent. */
  listens: z.object({ path: z.string().nullable() }).optional(),
  /** The volume's latest session: it is opened only as the one right behind. Absent: of a device without sessions. */
  after: count.optional(),
  /** Of the volume or snapshot, whatever it is called: nothing else is served to its guest. Absent: not known, or of an older process. */
  identity: z.string().max(256).optional(),
  /** Null while no front-end is connected. */
  session: sessionSchema.nullable(),
});
export type DeviceState = z.infer<typeof deviceStateSchema>;
