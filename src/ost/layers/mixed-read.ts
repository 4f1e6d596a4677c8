import { ERROR_CODES, wireOfErrno } from '../../common/errors.js';
import { isMediumError } from '../../io/index.js';
import { SliceList } from '../../io/memory.js';
import { FileOp, type FileOpOwner } from '../../io/types.js';
import type { ChunkOp } from '../../protocol/index.js';
import type { RecheckOwner } from '../checksums/recheck.js';
import type { ChunkFile } from '../chunk-file.js';
import type { OstCore } from '../core.js';
import { NOBODY } from './layer-maps.js';

/** A read whose blocks lie in several versions: a part for each run of one version, verified there. */
export class MixedRead {
  private readonly core: OstCore;
  private readonly owner: RecheckOwner;
  private pending = 1;
  private status = 0;
  private badOffset = 0;

  constructor(core: OstCore, owner: RecheckOwner) {
    this.core = core;
    this.owner = owner;
  }

  /** Never answers from within. @throws RawstorError when a file does not tell where it has data; nothing is begun then */
  start(op: ChunkOp, chunk: ChunkFile): void {
    const { maps } = this.core.layers;
    const parts: Part[] = [];
    try {
      maps.forEachRun(chunk, op.offset, op.length, (owner, offset, length) => {
        if (owner === NOBODY) op.slices.zeroFill(offset - op.offset, length);
        else parts.push(new Part(this.core, this, maps.file(chunk, owner), op, offset, length));
      });
    } catch (error) {
      for (const part of parts) part.letGo();
      throw error;
    }
    this.pending = parts.length;
    if (parts.length === 0) return this.core.env.io.schedule({ runBatch: () => this.owner.rechecked(0, 0) });
    for (const part of parts) part.start();
  }

  partDone(status: number, badOffset: number): void {
    if (status !== 0 && this.status === 0) {
      this.status = status;
      this.badOffset = badOffset;
    }
    if (--this.pending === 0) this.owner.rechecked(this.status, this.badOffset);
  }
}

/** One run: as much of an operation as checksums look at. */
class Part implements FileOpOwner, RecheckOwner {
  readonly offset: number;
  readonly length: number;
  readonly slices = new SliceList();
  private readonly core: OstCore;
  private readonly whole: MixedRead;
  private readonly file: ChunkFile;
  private readonly fileOp = new FileOp(this, new SliceList());

  constructor(core: OstCore, whole: MixedRead, file: ChunkFile, op: ChunkOp, offset: number, length: number) {
    this.core = core;
    this.whole = whole;
    this.file = file;
    this.offset = offset;
    this.length = length;
    this.slices.addRange(op.slices, offset - op.offset, length);
    this.fileOp.fileOffset = offset;
    this.fileOp.slices.addRange(this.slices, 0, length);
    // Its file stays open until the part is done.
    file.holders++;
  }

  start(): void {
    const unreadable = this.core.damage.firstUnreadable(this.file, this.offset, this.length);
    if (unreadable < 0) return this.file.file!.read(this.fileOp);
    this.core.layers.soon(() => this.done(ERROR_CODES.CHECKSUM.wire, unreadable));
  }

  fileDone(_op: FileOp, result: number): void {
    if (isMediumError(result)) return this.core.rereads.all(this.file, this, this);
    if (result < 0) return this.done(wireOfErrno(result), 0);
    if (result < this.length) this.slices.zeroFill(result, this.length - result);
    const { checksums } = this.core;
    if (checksums === null) {
      const badOffset = this.core.damage.firstIn(this.file, this.offset, this.length);
      if (badOffset < 0) this.done(0, 0);
      else this.core.rereads.all(this.file, this, this);
    } else if (checksums.check(this.file, this)) this.done(0, 0);
    else checksums.recheck(this.file, this, this);
  }

  rechecked(status: number, badOffset: number): void {
    this.done(status, badOffset);
  }

  letGo(): void {
    this.file.holders--;
    this.core.chunks.settled(this.file);
  }

  private done(status: number, badOffset: number): void {
    this.letGo();
    this.whole.partDone(status, badOffset);
  }
}
