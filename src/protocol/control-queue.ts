import { LIMITS } from '../common/limits.js';
import { heapMemory } from '../io/memory.js';
import type { Stream } from '../io/types.js';
import { encodeFrameHeader, FRAME_HEADER_BYTES, FrameHeader } from './frame.js';

export interface ControlQueueHost {
  /** So many bytes more wait for the peer, or (less than none) less. */
  queuedChanged(bytes: number): void;
  /** The peer takes its answers too slowly to be asked for more, or not any longer. */
  behindChanged(behind: boolean): void;
}

/** Control messages on their way to the peer of one connection. */
export class ControlQueue {
  /** More wait than the peer should leave waiting. */
  behind = false;
  private bytes = 0;
  private readonly stream: Stream;
  private readonly host: ControlQueueHost;
  private readonly header = new FrameHeader();

  constructor(stream: Stream, host: ControlQueueHost) {
    this.stream = stream;
    this.host = host;
  }

  /** @returns whether the peer may still be believed to take them */
  send(
    version: number,
    opcode: number,
    flags: number,
    requestId: number,
    status: number,
    body: Buffer,
  ): boolean {
    const { header } = this;
    header.version = version;
    header.opcode = opcode;
    header.flags = flags;
    header.requestId = requestId;
    header.status = status;
    header.payloadBytes = body.length;
    // On the heap until its turn comes: who takes no answers must not hold buffers that others need.
    const memory = heapMemory(FRAME_HEADER_BYTES + body.length);
    encodeFrameHeader(memory.bytes, 0, header);
    memory.bytes.set(body, FRAME_HEADER_BYTES);
    const { length } = memory.bytes;
    this.bytes += length;
    this.stream.send(memory, 0, length, { release: () => this.left(length) });
    this.host.queuedChanged(length);
    if (!this.behind && this.bytes > LIMITS.connectionBehindBytes) {
      this.behind = true;
      this.host.behindChanged(true);
    }
    return this.bytes <= LIMITS.connectionControlBytes;
  }

  private left(bytes: number): void {
    this.bytes -= bytes;
    this.host.queuedChanged(-bytes);
    if (!this.behind || this.bytes > LIMITS.connectionBehindBytes / 2) return;
    this.behind = false;
    this.host.behindChanged(false);
  }
}
