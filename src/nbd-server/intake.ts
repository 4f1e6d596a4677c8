import type { Memory } from '../io/memory.js';
import type { PoolBuffer } from '../io/pool.js';
import type { FrameHandler, Stream } from '../io/types.js';
import { Command, NBD_LIMITS, REQUEST_BYTES } from './constants.js';
import type { RequestRecord } from './request-record.js';
import { checkRequest, decodeRequest, RequestHeader, type RequestRules, viewOf } from './transmission.js';
import type { WritePath } from './write-path.js';

export interface IntakeHost {
  /** A bound is reached: no request may be received before something is answered. */
  readonly full: boolean;
  /** So far below the bounds that receiving may go on. */
  readonly relieved: boolean;
  /** A record for the next request. Never fails while not full. */
  take(): RequestRecord;
  /** The request is here, without payload. `errno` is set where it was refused. */
  dispatch(record: RequestRecord): void;
  /** The client takes its leave. */
  disconnected(): void;
  fault(what: string): void;
}

/** Receives requests and payloads from the stream, and stops receiving while the connection is full. */
export class Intake {
  /** The request whose frame, or whose payload, is being received. */
  current: RequestRecord | null = null;
  paused = false;
  private readonly stream: Stream;
  private readonly rules: RequestRules;
  private readonly writes: WritePath;
  private readonly host: IntakeHost;
  private readonly parsed = new RequestHeader();
  private view: DataView;
  private viewMemory: Memory;
  private ending = false;

  private readonly requestFrames: FrameHandler = {
    headerBytes: REQUEST_BYTES,
    header: (memory, offset) => this.requestHeader(memory, offset),
    frame: (buffer, offset, length) => this.requestFrame(buffer, offset, length),
  };
  /** The rest of a payload that is longer than a piece: frames without headers. */
  private readonly payloadFrames: FrameHandler = {
    headerBytes: 0,
    header: () => this.writes.nextBytes(this.current!),
    frame: (buffer, offset, length) => this.payloadFrame(buffer!, offset, length),
  };

  constructor(stream: Stream, memory: Memory, rules: RequestRules, writes: WritePath, host: IntakeHost) {
    this.stream = stream;
    this.viewMemory = memory;
    this.view = viewOf(memory.bytes);
    this.rules = rules;
    this.writes = writes;
    this.host = host;
  }

  start(): void {
    this.stream.receive(this.requestFrames);
  }

  /** Takes no further request. A payload that is half here is still taken in: its request was received. */
  end(): void {
    this.ending = true;
    if (this.current === null) this.pause();
  }

  /** Goes on receiving, where it had stopped and may. */
  resume(): void {
    if (!this.paused || !this.mayResume()) return;
    this.paused = false;
    this.stream.resume();
  }

  mayResume(): boolean {
    return !(this.ending && this.current === null) && this.host.relieved;
  }

  private requestHeader(memory: Memory, offset: number): number {
    if (memory !== this.viewMemory) {
      this.viewMemory = memory;
      this.view = viewOf(memory.bytes);
    }
    const { parsed } = this;
    if (!decodeRequest(this.view, offset, parsed)) return this.fault('request without its magic');
    if (parsed.command === Command.DISC) {
      this.host.disconnected();
      return -1;
    }
    if (parsed.command === Command.WRITE && parsed.length > NBD_LIMITS.payloadMaxBytes) {
      return this.fault(`write of ${parsed.length} bytes`);
    }
    const record = this.host.take();
    record.begin(parsed);
    record.errno = checkRequest(parsed, this.rules);
    this.current = record;
    return parsed.command === Command.WRITE ? this.writes.nextBytes(record) : 0;
  }

  private requestFrame(buffer: PoolBuffer | null, offset: number, length: number): void {
    const record = this.current!;
    if (buffer !== null) {
      this.payload(record, buffer, offset, length);
      if (this.current !== null) this.stream.receive(this.payloadFrames);
      return;
    }
    this.current = null;
    this.host.dispatch(record);
    this.pauseIfFull();
  }

  private payloadFrame(buffer: PoolBuffer, offset: number, length: number): void {
    this.payload(this.current!, buffer, offset, length);
    if (this.current === null) this.stream.receive(this.requestFrames);
  }

  private payload(record: RequestRecord, buffer: PoolBuffer, offset: number, length: number): void {
    if (record.started + length === record.length) this.current = null;
    this.writes.payload(record, buffer, offset, length);
    this.pauseIfFull();
  }

  private pauseIfFull(): void {
    if (this.host.full || (this.ending && this.current === null)) this.pause();
  }

  private pause(): void {
    if (this.paused || this.stream.closed) return;
    this.paused = true;
    this.stream.pause();
  }

  private fault(what: string): -1 {
    this.host.fault(what);
    return -1;
  }
}
