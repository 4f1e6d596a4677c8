import type { BodyPace } from './incoming.js';

export interface S3ServerLimits {
  readonly connections: number;
  readonly headerBytes: number;
  /** A client that neither takes nor sends anything for so long is dropped. */
  readonly idleMs: number;
  /** Requests that are answered at a time; more are told to slow down. */
  readonly underWay: number;
  /** While an answer takes long something is sent so often: clients give up on a server that says nothing. */
  readonly blankMs: number;
  /** Of a body while it is waited for. */
  readonly body: BodyPace;
  /** Of content that a client takes; kernels take it in large pieces, so the window is long. */
  readonly answer: BodyPace;
}

export const S3_LIMITS: S3ServerLimits = {
  connections: 1024,
  headerBytes: 32 * 1024,
  idleMs: 60_000,
  underWay: 256,
  blankMs: 5000,
  body: { bytesPerSecond: 512, windowMs: 30_000 },
  answer: { bytesPerSecond: 512, windowMs: 180_000 },
};
