import { createHash } from 'node:crypto';
import { crc32c } from '../../protocol/index.js';
import {
  type DifferenceHead,
  DifferenceRecord,
  FORMAT_VERSION,
  MAGIC,
  PREAMBLE_BYTES,
  RECORD_HEADER_BYTES,
  SUMMED_BYTES,
} from './format.js';

/** What a stream holds, when all is told. */
export interface DifferenceTotals {
  records: number;
  dataBytes: number;
  zeroBytes: number;
  /** Of the stream, END left out. */
  streamBytes: number;
}

/** Makes the bytes of a difference stream. Pure: what it answers is to be written in that order. */
export class DifferenceEncoder {
  readonly totals: DifferenceTotals = { records: 0, dataBytes: 0, zeroBytes: 0, streamBytes: 0 };
  private readonly hash = createHash('sha256');
  /** Zeros that may go on. */
  private zeroFrom = 0;
  private zeroUntil = 0;

  /** Goes on behind what another one made. */
  adopt(bytes: Buffer): void {
    this.hash.update(bytes);
  }

  begin(head: DifferenceHead): Buffer[] {
    const preamble = Buffer.alloc(PREAMBLE_BYTES);
    MAGIC.copy(preamble);
    preamble.writeUInt32LE(FORMAT_VERSION, MAGIC.length);
    const payload = Buffer.from(JSON.stringify(head));
    return this.out(preamble, ...this.record(DifferenceRecord.HEAD, 0, head.to.sizeBytes, payload));
  }

  /** `bytes` are to be written before they change. */
  data(offset: number, bytes: Buffer): Buffer[] {
    const before = this.pendingZeros();
    this.totals.dataBytes += bytes.length;
    return [...before, ...this.out(...this.record(DifferenceRecord.DATA, offset, bytes.length, bytes))];
  }

  /** Ranges that follow one another become one record, which is written with the next other one. */
  zero(offset: number, length: number): Buffer[] {
    this.totals.zeroBytes += length;
    if (this.zeroUntil > this.zeroFrom && offset === this.zeroUntil) {
      this.zeroUntil += length;
      return [];
    }
    const before = this.pendingZeros();
    this.zeroFrom = offset;
    this.zeroUntil = offset + length;
    return before;
  }

  end(): Buffer[] {
    const before = this.pendingZeros();
    const { records, streamBytes } = this.totals;
    return [...before, ...this.record(DifferenceRecord.END, records, streamBytes, this.hash.digest())];
  }

  private pendingZeros(): Buffer[] {
    const length = this.zeroUntil - this.zeroFrom;
    if (length === 0) return [];
    this.zeroUntil = this.zeroFrom;
    return this.out(...this.record(DifferenceRecord.ZERO, this.zeroFrom, length, null));
  }

  private record(type: number, offset: number, length: number, payload: Buffer | null): Buffer[] {
    this.totals.records++;
    const header = recordHeader(type, offset, length, payload);
    return payload === null ? [header] : [header, payload];
  }

  private out(...buffers: Buffer[]): Buffer[] {
    for (const bytes of buffers) {
      this.hash.update(bytes);
      this.totals.streamBytes += bytes.length;
    }
    return buffers;
  }
}

function recordHeader(type: number, offset: number, length: number, payload: Buffer | null): Buffer {
  const header = Buffer.alloc(RECORD_HEADER_BYTES);
  header.writeUInt32LE(type, 0);
  header.writeUInt32LE(payload?.length ?? 0, 4);
  header.writeBigUInt64LE(BigInt(offset), 8);
  header.writeBigUInt64LE(BigInt(length), 16);
  header.writeUInt32LE(payload === null ? 0 : crc32c(payload, 0, payload.length), 24);
  header.writeUInt32LE(crc32c(header, 0, SUMMED_BYTES), SUMMED_BYTES);
  return header;
}
