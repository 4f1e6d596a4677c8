import type { Span } from '../common/trace.js';
import { SliceList } from '../io/memory.js';

/** Who an operation is of: of a session, of a copy (I9), which may change frozen versions, or part of another one. */
export const OpScope = { SESSION: 0, COPY: 1, NESTED: 2 } as const;

/**
 * One data operation on a chunk, as the client gives it to an OST: through frames to a remote one, by a plain
 * call to one in the same process. Preallocated and reused; from submit to `chunkDone` it belongs to the OST side.
 */
export class ChunkOp {
  /** READ, WRITE, ZERO, ERASE, FLUSH or PING of protocol/frame. */
  opcode = 0;
  fua = false;
  /** From `ost.attach` on the same peer. */
  handle = 0;
  sessionEpoch = 0;
  sessionNumber = 0;
  chunk = 0;
  chunkVersion = 1;
  /**
   * Epoch held by the writer when it sent this (consistency: tag). In the answer to a READ the highest region
   * epoch of the range, which a copy needs.
   */
  tag = 0;
  /** Bytes from the start of the chunk. */
  offset = 0;
  length = 0;
  readonly slices = new SliceList();
  /** Not on the wire: only an OST for itself asks for more than a session may. */
  scope: number = OpScope.SESSION;
  /** An ERASE after which what lies below shows, instead of zeros; of copies only. Not on the wire. */
  revert = false;
  /** The versions that the revert goes by: it is refused (BUSY) once the object has others, for what lies below may be merged into it by then. */
  revertFor: unknown = null;
  /** Of a copy to a new member: what is left of the disk then is for those who are there already. */
  leavesRoom = false;
  /** Answer: 0 or a wire status of common/errors. */
  status = 0;
  owner: ChunkOpOwner;
  /** For the link that carries it: its slot, and when it was sent. */
  requestId = 0;
  sentAtMs = 0;
  /** On the OST's side, while somebody looks where time goes. */
  span: Span | null = null;
  constructor(owner: ChunkOpOwner) {
    this.owner = owner;
  }
}

export interface ChunkOpOwner {
  /** Exactly once a submit, never from within it. */
  chunkDone(op: ChunkOp): void;
}
