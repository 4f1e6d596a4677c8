import type { BlockRequest } from '../../block/device.js';
import type { RawstorError } from '../../common/errors.js';
import { ChunkOp } from '../../protocol/chunk-op.js';
import type { ReplicaSession } from './replicas.js';

/** The part of a request that lies in one chunk. */
export class SnapshotPiece extends ChunkOp {
  request: SnapshotRequest | null = null;
  ostId = '';
  session: ReplicaSession | null = null;
  /** OSTs that have failed it in this round. */
  readonly tried: string[] = [];
  /** What the last of them said. */
  refusal: RawstorError | null = null;
  untilMs = 0;
}

export interface SnapshotRequest {
  readonly block: BlockRequest;
  pieces: number;
  error: RawstorError | null;
}
