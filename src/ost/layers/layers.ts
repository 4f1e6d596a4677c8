import type { PoolBuffer } from '../../io/pool.js';
import { ChunkOp, errorOfStatus, Opcode, OpScope } from '../../protocol/index.js';
import { takeBuffer } from '../checksums/quiet-access.js';
import type { ChunkFile } from '../chunk-file.js';
import type { OstCore } from '../core.js';
import type { OstObject } from '../object.js';
import { Session, type SessionHolder } from '../session.js';
import { LayerMaps } from './layer-maps.js';
import { Merger } from './merger.js';
import { Strays } from './strays.js';
import { ZeroLog } from './zero-log.js';

/** Everything of versions that lie over others, in one OST. */
export class Layers {
  readonly zeros: ZeroLog;
  readonly maps: LayerMaps;
  readonly merger: Merger;
  readonly strays: Strays;
  private readonly core: OstCore;
  private readonly itself: SessionHolder = { sessions: new Set(), gone: false };

  constructor(core: OstCore, ownerMaps: number) {
    this.core = core;
    this.zeros = new ZeroLog(core.env.io, core.records, (changes) => core.commit(changes));
    this.maps = new LayerMaps(this.zeros, ownerMaps);
    this.merger = new Merger(core);
    this.strays = new Strays(core);
  }

  /** An operation of this OST's own; resolves with it, answered. */
  private run(op: ChunkOp, session: Session): Promise<ChunkOp> {
    return new Promise((resolve) => {
      op.owner = { chunkDone: resolve };
      this.core.begin(op, session);
    });
  }

  /** A part of other work on a version, which no lock holds back. @returns its wire status */
  async nested(
    session: Session,
    { chunk, version }: ChunkFile,
    part: { opcode: number; offset: number; length: number; tag: number },
    data: { buffer: PoolBuffer; at: number } | null,
  ): Promise<number> {
    const op = new ChunkOp({ chunkDone: () => {} });
    Object.assign(op, { ...part, chunk, chunkVersion: version, scope: OpScope.NESTED });
    if (data !== null) op.slices.add(data.buffer.memory, data.buffer.offset + data.at, part.length);
    return (await this.run(op, session)).status;
  }

  /** Copies a piece, of at most one frame, from what one version shows to another. @throws RawstorError */
  async copyPiece(
    session: Session,
    [from, into]: readonly [ChunkFile, ChunkFile],
    piece: { offset: number; length: number; tag: number },
  ): Promise<void> {
    const buffer = await this.buffer(piece.length);
    try {
      for (const [opcode, file] of [
        [Opcode.READ, from],
        [Opcode.WRITE, into],
      ] as const) {
        const status = await this.nested(session, file, { opcode, ...piece }, { buffer, at: 0 });
        if (status !== 0) throw errorOfStatus(status, file.where);
      }
    } finally {
      buffer.release();
    }
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
