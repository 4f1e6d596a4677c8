import { createHash } from 'node:crypto';
import { RawstorError } from '../../common/errors.js';
import { LIMITS } from '../../common/limits.js';
import { crc32c } from '../../protocol/index.js';
import {
  DIFFERENCE_LIMITS,
  type DifferenceHead,
  DifferenceRecord,
  differenceHeadSchema,
  FORMAT_VERSION,
  MAGIC,
  PREAMBLE_BYTES,
  RECORD_HEADER_BYTES,
  SHA256_BYTES,
  SUMMED_BYTES,
} from './format.js';

export type DifferenceItem =
  | { readonly kind: 'head'; readonly head: DifferenceHead }
  | { readonly kind: 'data'; readonly offset: number; readonly bytes: Buffer }
  | { readonly kind: 'zero'; readonly offset: number; readonly length: number }
  | { readonly kind: 'end' };

interface RecordHeader {
  readonly type: number;
  readonly payloadBytes: number;
  readonly offset: number;
  readonly length: number;
  readonly payloadSum: number;
}

type Awaited = 'preamble' | 'header' | 'payload' | 'nothing';

/**
 * Reads a difference stream, cut in pieces of any length: takes bytes, answers what became whole. Holds one record at most. Everything is checked,
 * so that what it answers is what was written; that nothing is missing only `finish` knows.
 */
export class DifferenceDecoder {
  private readonly hash = createHash('sha256');
  private readonly name: string;
  private awaited: Awaited = 'preamble';
  private wanted = Buffer.alloc(PREAMBLE_BYTES);
  private filled = 0;
  private record: RecordHeader | null = null;
  private head: DifferenceHead | null = null;
  private records = 0;
  /** Of the stream, before what is being filled. */
  private atByte = 0;
  /** Where the next range may begin. */
  private nextOffset = 0;
  /** Where the last whole record ends, END left out: how much of a stream that was cut short is one. */
  wholeBytes = 0;
  wholeRecords = 0;
  /** Ranges after the last whole record begin here at the earliest. */
  wholeUntil = 0;

  /** @param name of the stream, for messages */
  constructor(name: string) {
    this.name = name;
  }

  /** @throws RawstorError BAD_DATA, CHECKSUM, VERSION */
  push(bytes: Buffer): DifferenceItem[] {
    const items: DifferenceItem[] = [];
    for (let at = 0; at < bytes.length; ) {
      if (this.awaited === 'nothing') throw this.bad('there is something behind its end');
      const taken = bytes.copy(this.wanted, this.filled, at);
      at += taken;
      this.filled += taken;
      if (this.filled < this.wanted.length) break;
      const item = this.whole(this.wanted);
      if (item !== null) items.push(item);
    }
    return items;
  }

  /** There is no more. @throws RawstorError BAD_DATA when there should be */
  finish(): void {
    if (this.awaited === 'nothing') return;
    this.atByte += this.filled;
    throw this.bad('it ends too early', 'it was cut short: make it again, or copy it again');
  }

  private whole(bytes: Buffer): DifferenceItem | null {
    let item: DifferenceItem | null = null;
    if (this.awaited === 'preamble') this.preamble(bytes);
    else if (this.awaited === 'header') item = this.header(bytes);
    else item = this.payload(bytes);
    this.atByte += bytes.length;
    if (item !== null && item.kind !== 'end') {
      this.wholeBytes = this.atByte;
      this.wholeRecords = this.records;
      this.wholeUntil = this.nextOffset;
    }
    return item;
  }

  private preamble(bytes: Buffer): void {
    if (!bytes.subarray(0, MAGIC.length).equals(MAGIC)) {
      throw this.bad('it is no difference stream', 'one is made by `rawstor-volume export VOL@B --since A`');
    }
    const version = bytes.readUInt32LE(MAGIC.length);
    if (version !== FORMAT_VERSION) {
      throw new RawstorError('VERSION', `it is of format ${version}, this program knows ${FORMAT_VERSION}`, {
        where: this.name,
        hint: 'use a newer program',
      });
    }
    this.hash.update(bytes);
    this.want('header', RECORD_HEADER_BYTES);
  }

  private header(bytes: Buffer): DifferenceItem | null {
    if (crc32c(bytes, 0, SUMMED_BYTES) !== bytes.readUInt32LE(SUMMED_BYTES)) throw this.damaged();
    const record = {
      type: bytes.readUInt32LE(0),
      payloadBytes: bytes.readUInt32LE(4),
      offset: Number(bytes.readBigUInt64LE(8)),
      length: Number(bytes.readBigUInt64LE(16)),
      payloadSum: bytes.readUInt32LE(24),
    };
    this.checkHeader(record);
    if (record.type !== DifferenceRecord.END) this.hash.update(bytes);
    this.record = record;
    if (record.payloadBytes > 0) {
      this.want('payload', record.payloadBytes);
      return null;
    }
    this.records++;
    this.want('header', RECORD_HEADER_BYTES);
    return { kind: 'zero', offset: record.offset, length: record.length };
  }

  private checkHeader({ type, payloadBytes, offset, length }: RecordHeader): void {
    if ((type === DifferenceRecord.HEAD) !== (this.head === null))
      throw this.bad('its head is not its first record');
    switch (type) {
      case DifferenceRecord.HEAD:
        if (payloadBytes === 0 || payloadBytes > DIFFERENCE_LIMITS.headBytes)
          throw this.bad('its head is too long');
        return;
      case DifferenceRecord.DATA:
        if (payloadBytes !== length || payloadBytes > DIFFERENCE_LIMITS.dataBytes)
          throw this.bad('a record is too long');
        return this.checkRange(offset, length);
      case DifferenceRecord.ZERO:
        if (payloadBytes !== 0) throw this.bad('a record of zeros has a payload');
        return this.checkRange(offset, length);
      case DifferenceRecord.END:
        if (payloadBytes !== SHA256_BYTES) throw this.bad('its end is not one');
        if (offset !== this.records || length !== this.atByte)
          throw this.bad('records are missing, or there are too many');
        return;
      default:
        throw this.bad(`it has a record of type ${type}, which is not known`);
    }
  }

  /** Ranges rise and never overlap: they may be written in any order. */
  private checkRange(offset: number, length: number): void {
    const end = offset + length;
    const isWhole = offset % LIMITS.sectorBytes === 0 && length % LIMITS.sectorBytes === 0;
    if (length === 0 || !isWhole || offset < this.nextOffset || !(end <= this.head!.to.sizeBytes)) {
      throw this.bad(`a range of ${length} bytes at ${offset} is out of place`);
    }
    this.nextOffset = end;
  }

  private payload(bytes: Buffer): DifferenceItem {
    const { type, offset, length, payloadSum } = this.record!;
    if (crc32c(bytes, 0, bytes.length) !== payloadSum) throw this.damaged();
    if (type === DifferenceRecord.END) {
      if (!this.hash.digest().equals(bytes)) throw this.damaged();
      this.want('nothing', 0);
      return { kind: 'end' };
    }
    this.hash.update(bytes);
    this.records++;
    this.want('header', RECORD_HEADER_BYTES);
    if (type === DifferenceRecord.DATA) return { kind: 'data', offset, bytes };
    this.head = this.parseHead(bytes);
    if (length !== this.head.to.sizeBytes) throw this.bad('its head tells of two sizes');
    return { kind: 'head', head: this.head };
  }

  private parseHead(bytes: Buffer): DifferenceHead {
    try {
      return differenceHeadSchema.parse(JSON.parse(bytes.toString()));
    } catch (error) {
      throw this.bad(`its head cannot be read: ${(error as Error).message.slice(0, 200)}`);
    }
  }

  private want(awaited: Awaited, bytes: number): void {
    this.awaited = awaited;
    // A new one each time: what was answered stays as it is.
    this.wanted = Buffer.allocUnsafe(bytes);
    this.filled = 0;
  }

  private get where(): string {
    return `${this.name}: record ${this.records}, byte ${this.atByte}`;
  }

  private bad(message: string, hint?: string): RawstorError {
    return new RawstorError('BAD_DATA', message, { where: this.where, hint });
  }

  private damaged(): RawstorError {
    return new RawstorError('CHECKSUM', 'the stream is damaged', {
      where: this.where,
      hint: 'it is not what was written: make it again, or copy it again',
    });
  }
}
