import { RawstorError } from '../common/errors.js';
import type { DescriptorSocket } from '../io/index.js';
import { VHOST_LIMITS } from './constants.js';
import { decodeHeader, HEADER_BYTES, type MessageHeader } from './messages.js';

export interface Message {
  readonly header: MessageHeader;
  readonly payload: Buffer;
  /** Whoever takes one out owns it. */
  readonly fds: number[];
}

/** Puts messages together, however they arrive; never reads into the next, or its descriptors would be taken for this one's. */
export class MessageReader {
  private readonly socket: DescriptorSocket;
  private readonly headerBytes = Buffer.alloc(HEADER_BYTES);
  private header: MessageHeader | null = null;
  private payload = Buffer.alloc(0);
  private got = 0;
  private fds: number[] = [];

  constructor(socket: DescriptorSocket) {
    this.socket = socket;
  }

  /** Some of a message was read, and not all. */
  get isMidway(): boolean {
    return this.header !== null || this.got > 0;
  }

  /** @returns null when no whole one is here yet, 'end' after the last. @throws RawstorError PROTOCOL, CONNECTION_LOST */
  next(): Message | 'end' | null {
    for (;;) {
      if (this.header === null && this.got === HEADER_BYTES) this.beginPayload();
      if (this.header !== null && this.got === this.payload.length) return this.whole(this.header);
      const target = this.header === null ? this.headerBytes : this.payload;
      const result = this.socket.receive(target, this.got, target.length - this.got, this.fds);
      if (this.fds.length > VHOST_LIMITS.fdsPerMessage) {
        throw new RawstorError(
          'PROTOCOL',
          `more than ${VHOST_LIMITS.fdsPerMessage} descriptors in a message`,
        );
      }
      if (result === null) return null;
      if (result === 0) return 'end';
      this.got += result;
    }
  }

  /** The descriptors of what is half here, for somebody else to close. */
  release(): number[] {
    return this.fds.splice(0);
  }

  private beginPayload(): void {
    this.header = decodeHeader(this.headerBytes);
    if (this.header === null) throw new RawstorError('PROTOCOL', 'a message with a header that is none');
    this.payload = Buffer.alloc(this.header.payloadBytes);
    this.got = 0;
  }

  private whole(header: MessageHeader): Message {
    const message = { header, payload: this.payload, fds: this.fds };
    this.header = null;
    this.got = 0;
    this.fds = [];
    return message;
  }
}
