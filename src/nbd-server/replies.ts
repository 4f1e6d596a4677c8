import { assert } from '../common/assert.js';
import type { Memory } from '../io/memory.js';
import type { Stream } from '../io/types.js';
import { ChunkFlag, ChunkType, Command } from './constants.js';
import { Emission, RecordRing, type RequestRecord } from './request-record.js';
import { encodeChunkHeader, encodeDataChunk, encodeSimpleReply, errorChunk, viewOf } from './transmission.js';

export interface RepliesHost {
  /** It is the ordered reply's turn: it holds the output. */
  orderedTurn(parent: RequestRecord): void;
  /** The reply is out, or on its way without needing the record. */
  retire(record: RequestRecord): void;
  /** The text that goes with a structured error. */
  explain(record: RequestRecord): string;
}

/**
 * The output of one connection. Replies leave in the order they come, but for ordered ones: from its header
 * to its last byte such a reply has the output to itself and the others wait in a queue.
 */
export class Replies {
  private readonly stream: Stream;
  private readonly memory: Memory;
  private readonly view: DataView;
  private readonly structured: boolean;
  private readonly host: RepliesHost;
  private readonly waiters: RecordRing;
  private holder: RequestRecord | null = null;

  constructor(stream: Stream, memory: Memory, structured: boolean, capacity: number, host: RepliesHost) {
    this.stream = stream;
    this.memory = memory;
    this.view = viewOf(memory.bytes);
    this.structured = structured;
    this.host = host;
    this.waiters = new RecordRing(capacity);
  }

  /** A reply without data: done, or failed. */
  reply(record: RequestRecord): void {
    if (this.holder !== null) this.wait(record, Emission.REPLY);
    else this.sendReply(record);
  }

  /** One piece of data as a reply, or a chunk of a reply, of its own. */
  piece(piece: RequestRecord): void {
    if (this.holder !== null) this.wait(piece, Emission.PIECE);
    else this.sendPiece(piece);
  }

  /** Asks for the output; answers by `orderedTurn`, perhaps at once. */
  hold(parent: RequestRecord): void {
    if (this.holder !== null) {
      this.wait(parent, Emission.ORDERED);
      return;
    }
    this.holder = parent;
    this.host.orderedTurn(parent);
  }

  /** The header of an ordered reply. Data follow by `orderedPiece`. */
  orderedHeader(parent: RequestRecord): void {
    assert(this.holder === parent, 'ordered reply without the output');
    const at = parent.headerAt;
    const headerBytes = this.structured
      ? encodeDataChunk(this.view, at, parent, 0, parent.offset, parent.length)
      : encodeSimpleReply(this.view, at, parent, 0);
    this.stream.send(this.memory, at, headerBytes, null);
  }

  orderedPiece(piece: RequestRecord): void {
    const buffer = piece.buffer!;
    this.stream.send(buffer.memory, buffer.offset, piece.pieceBytes, piece);
  }

  /** All data of the ordered reply are queued. With structured replies, its last chunk says how it went. */
  orderedEnd(parent: RequestRecord): void {
    assert(this.holder === parent, 'ordered reply without the output');
    if (this.structured) {
      if (parent.errno === 0) {
        const none = Buffer.alloc(20);
        encodeChunkHeader(viewOf(none), 0, parent, ChunkFlag.DONE, ChunkType.NONE, 0);
        this.stream.sendCopy(none);
      } else this.stream.sendCopy(errorChunk(parent, parent.errno, this.host.explain(parent)));
    }
    this.holder = null;
    this.next();
  }

  /** A whole chunk that was made on the spot (block status). */
  chunk(record: RequestRecord, bytes: Buffer): void {
    // Interleaving with an ordered reply's data would corrupt it, so this waits as well: as its error-less twin.
    if (this.holder !== null) {
      record.chunk = bytes;
      this.wait(record, Emission.REPLY);
      return;
    }
    this.sendWhole(record, bytes);
  }

  /** After the stream is gone: hands back who waited, one a call. */
  abandon(): RequestRecord | null {
    this.holder = null;
    return this.waiters.shift();
  }

  private wait(record: RequestRecord, emission: Emission): void {
    record.emission = emission;
    this.waiters.push(record);
  }

  private next(): void {
    while (this.holder === null) {
      const record = this.waiters.shift();
      if (record === null) return;
      const emission = record.emission;
      record.emission = Emission.NONE;
      if (emission === Emission.REPLY) this.sendReply(record);
      else if (emission === Emission.PIECE) this.sendPiece(record);
      else this.hold(record);
    }
  }

  private sendReply(record: RequestRecord): void {
    if (record.chunk !== null) {
      this.sendWhole(record, record.chunk);
      return;
    }
    if (this.structured && record.errno !== 0) {
      this.sendWhole(record, errorChunk(record, record.errno, this.host.explain(record)));
      return;
    }
    const at = record.headerAt;
    // "MUST NOT use a simple reply for READ", not even for an empty one.
    const headerBytes =
      this.structured && record.command === Command.READ
        ? encodeChunkHeader(this.view, at, record, ChunkFlag.DONE, ChunkType.NONE, 0)
        : encodeSimpleReply(this.view, at, record, record.errno);
    record.replying = true;
    this.stream.send(this.memory, at, headerBytes, record);
  }

  /** The record is kept until the bytes have left, so that there are never more of them than records. */
  private sendWhole(record: RequestRecord, bytes: Buffer): void {
    record.replying = true;
    this.stream.sendCopy(bytes, record);
  }

  private sendPiece(piece: RequestRecord): void {
    const parent = piece.parent;
    const at = piece.headerAt;
    const { offset } = piece.request;
    parent.emitted += piece.pieceBytes;
    let headerBytes: number;
    if (this.structured) {
      const flags = parent.emitted === parent.length ? ChunkFlag.DONE : 0;
      headerBytes = encodeDataChunk(this.view, at, parent, flags, offset, piece.pieceBytes);
    } else headerBytes = encodeSimpleReply(this.view, at, parent, 0);
    const buffer = piece.buffer!;
    this.stream.send(this.memory, at, headerBytes, null);
    this.stream.send(buffer.memory, buffer.offset, piece.pieceBytes, piece);
  }
}
