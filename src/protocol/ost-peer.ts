import type { ChunkOp } from './chunk-op.js';
import type { MethodName, Params, Result } from './messages.js';

/**
 * A client's end of one OST: frames over a connection, or plain calls into an OST of the same process. Both
 * behave alike, so that the client cannot tell them apart except by speed.
 */
export interface OstPeer {
  /** In this process: no payload crosses a socket. */
  readonly local: boolean;
  /** For messages. */
  readonly where: string;
  call<M extends MethodName>(method: M, params: Params<M>, timeoutMs?: number): Promise<Result<M>>;
  /**
   * Takes a data operation (or PING); `chunkDone` follows exactly once and never from within, with status
   * CONNECTION_LOST for all that is unanswered when the peer ends.
   */
  submit(op: ChunkOp): void;
  /** When the oldest operation that is not answered was given to it, Infinity without any. */
  oldestSentAtMs(): number;
  /** Ends it; everything unanswered is answered CONNECTION_LOST, then `onClosed` is called. */
  destroy(): void;
  onClosed: ((error: Error | null) => void) | null;
  /** The OST tells something nobody asked for. A peer that carries no events leaves it out. */
  onEvent?: ((name: string) => void) | null;
}

/** Opens peers to one OST. */
export interface OstConnector {
  connect(ostId: string, addresses: readonly string[], timeoutMs: number): Promise<OstPeer>;
}
