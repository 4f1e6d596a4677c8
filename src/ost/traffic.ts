import { type ChunkOp, Opcode } from '../protocol/index.js';

/** What this OST was asked for since its start, for whoever looks at rates. */
export class Traffic {
  reads = 0;
  /** Zeros and discards too, which have no bytes. */
  writes = 0;
  flushes = 0;
  readBytes = 0;
  writtenBytes = 0;
  inFlight = 0;

  begin({ opcode, length }: ChunkOp): void {
    this.inFlight++;
    if (opcode === Opcode.READ) {
      this.reads++;
      this.readBytes += length;
    } else if (opcode === Opcode.FLUSH) this.flushes++;
    else {
      this.writes++;
      if (opcode === Opcode.WRITE) this.writtenBytes += length;
    }
  }

  end(): void {
    this.inFlight--;
  }
}
