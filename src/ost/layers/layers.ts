import type { PoolBuffer } from '../../io/pool.js';
import type { ChunkOp } from '../../protocol/index.js';
import { takeBuffer } from '../checksums/quiet-access.js';
import type { OstCore } from '../core.js';
import type { OstObject } from '../object.js';
import { Session, type SessionHolder } from '../session.js';
import { LayerMaps } from './layer-maps.js';
import { Merger } from './merger.js';
import { ZeroLog } from './zero-log.js';

/** Everything of versions that lie over others, in one OST. */
export class Layers {
  readonly zeros: ZeroLog;
  readonly maps: LayerMaps;
  readonly merger: Merger;
  private readonly core: OstCore;
  private readonly itself: SessionHolder = { sessions: new Set(), gone: false };

  constructor(core: OstCore, ownerMaps: number) {
    this.core = core;
    this.zeros = new ZeroLog(core.env.io, core.records, (changes) => core.commit(changes));
    this.maps = new LayerMaps(this.zeros, ownerMaps);
    this.merger = new Merger(core);
  }

  /** An operation of this OST's own; resolves with it, answered. */
  run(op: ChunkOp, session: Session): Promise<ChunkOp> {
    return new Promise((resolve) => {
      op.owner = { chunkDone: resolve };
      this.core.begin(op, session);
    });
  }

  /** For work that nobody's session asked for. Not known to anybody, and fenced by nobody. */
  ownSession(object: OstObject): Session {
    return new Session(0, object, 0, 0, false, this.itself);
  }

  /** At the end of the turn. */
  soon(work: () => void): void {
    this.core.env.io.schedule({ runBatch: work });
  }

  buffer(sizeBytes: number): Promise<PoolBuffer> {
    return takeBuffer(this.core, sizeBytes);
  }
}
