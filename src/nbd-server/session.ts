import type { Clock, Timer } from '../common/clock.js';
import { asRawstorError } from '../common/errors.js';
import type { Gate } from '../common/gate.js';
import type { Logger } from '../common/log.js';
import type { PoolShares } from '../io/index.js';
import type { Memory } from '../io/memory.js';
import type { PoolBuffer } from '../io/pool.js';
import type { FrameHandler, Io, Stream } from '../io/types.js';
import { CLIENT_FLAGS_BYTES, NBD_LIMITS, OPTION_HEADER_BYTES } from './constants.js';
import type { Exports, Lease } from './exports.js';
import { type ExportName, Handshake, type HandshakeStep } from './handshake.js';
import { decodeOptionHeader, helloBytes } from './handshake-codec.js';
import { TransmissionPhase } from './phase.js';
import { headerMemoryBytes, type PhaseLimits } from './phase-context.js';

export interface SessionContext {
  readonly io: Io;
  readonly exports: Exports;
  /** Of answers to LIST. */
  readonly lists: Gate;
  readonly shares: PoolShares;
  readonly clock: Clock;
  readonly log: Logger;
  readonly limits: PhaseLimits;
  /** How long the client may take for its flags, and for each option. */
  readonly handshakeTimeoutMs: number;
  readonly shuttingDown: () => boolean;
  onFault(what: string): void;
  /** The connection is gone and its lease given back. Once. */
  onOver(session: Session): void;
}

const NO_BYTES = Buffer.alloc(0);
/** Of these times a client may let us wait in its handshake, all its options together. */
const HANDSHAKE_TIMEOUTS = 6;

/** One connection, from accept to close: the handshake here, then a TransmissionPhase. */
export class Session {
  readonly stream: Stream;
  /** The export being served; null during the handshake. */
  lease: Lease | null = null;
  private readonly context: SessionContext;
  private readonly handshake = new Handshake();
  /** Gives back the turn that an answer to LIST has. */
  private listTurn: (() => void) | null = null;
  private phase: TransmissionPhase | null = null;
  private timer: Timer | null = null;
  private closed = false;
  private option = 0;
  /** How long the client has let us wait so far, and since when it does again. */
  private waitedMs = 0;
  private waitsSinceMs = 0;
  private skipLeft = 0;

  private readonly answerTaken = {
    release: () => {
      this.endListTurn();
      this.stream.resume();
    },
  };
  private readonly flagsFrames: FrameHandler = {
    headerBytes: CLIENT_FLAGS_BYTES,
    header: (memory, offset) => this.flags(memory, offset),
    frame: () => this.stream.receive(this.optionFrames),
  };
  private readonly optionFrames: FrameHandler = {
    headerBytes: OPTION_HEADER_BYTES,
    header: (memory, offset) => this.optionHeader(memory, offset),
    frame: (buffer, offset, length) => this.optionData(buffer, offset, length),
  };
  /** Data of an option that is too long to look at. */
  private readonly skipFrames: FrameHandler = {
    headerBytes: 0,
    header: () => Math.min(this.skipLeft, NBD_LIMITS.optionBytes),
    frame: (_buffer, _offset, length) => this.skip(length),
  };

  constructor(stream: Stream, context: SessionContext) {
    this.stream = stream;
    this.context = context;
  }

  start(): void {
    this.stream.onClose = (error) => this.streamClosed(error);
    this.stream.sendCopy(helloBytes());
    this.stream.receive(this.flagsFrames);
    this.armTimer();
  }

  /** Answers what was received, then closes; a handshake is closed at once. */
  end(): void {
    if (this.phase !== null) this.phase.end();
    else this.stream.destroy();
  }

  destroy(): void {
    this.stream.destroy();
  }

  private flags(memory: Memory, offset: number): number {
    const flags = memory.bytes.readUInt32BE(offset);
    if (!this.handshake.clientFlags(flags)) return this.fault(`client flags ${flags} that were not offered`);
    this.armTimer();
    return 0;
  }

  private optionHeader(memory: Memory, offset: number): number {
    const header = decodeOptionHeader(memory.bytes, offset);
    if (header === null) return this.fault('option without its magic');
    this.option = header.option;
    if (header.lengthBytes <= NBD_LIMITS.optionBytes) return header.lengthBytes;
    if (header.lengthBytes > NBD_LIMITS.optionSkipBytes) {
      return this.fault(`option ${header.option} with ${header.lengthBytes} bytes`);
    }
    this.skipLeft = header.lengthBytes;
    return NBD_LIMITS.optionBytes;
  }

  private optionData(buffer: PoolBuffer | null, offset: number, length: number): void {
    if (this.skipLeft > 0) {
      this.skip(length);
      return;
    }
    const data = buffer === null ? NO_BYTES : buffer.memory.bytes.subarray(offset, offset + length);
    this.perform(this.handshake.take(this.option, data));
  }

  private skip(length: number): void {
    this.skipLeft -= length;
    if (this.skipLeft > 0) {
      this.stream.receive(this.skipFrames);
      return;
    }
    this.stream.receive(this.optionFrames);
    this.perform(this.handshake.skipped(this.option));
  }

  private perform(step: HandshakeStep): void {
    switch (step.kind) {
      case 'send':
        // The next option is looked at when this answer has left: who reads none is left to its time-out.
        this.stream.pause();
        this.stream.sendCopy(step.bytes, this.answerTaken);
        this.armTimer();
        break;
      case 'end':
        this.timer?.cancel();
        if (step.bytes === null) this.stream.destroy();
        else {
          this.stream.sendCopy(step.bytes);
          this.stream.end();
        }
        break;
      case 'list':
        this.await(this.list(), (names) => this.perform(this.handshake.listed(names)));
        break;
      case 'facts':
        this.await(this.context.exports.facts(step.name), (facts) => {
          this.perform(this.handshake.described(facts));
        });
        break;
      case 'open':
        this.open(step.name);
        break;
    }
  }

  /** No option is taken while one is worked on, and the client's clock stands still. */
  private await<T>(promise: Promise<T>, then: (value: T) => void): void {
    this.stopTimer();
    this.stream.pause();
    promise.then(
      (value) => {
        if (this.closed) return;
        this.stream.resume();
        then(value);
      },
      (error) => {
        if (this.closed) return;
        this.stream.resume();
        this.endListTurn();
        this.perform(this.handshake.refused(asRawstorError(error), this.context.shuttingDown()));
      },
    );
  }

  /** In its turn, which ends when the client has the answer or is gone. */
  private async list(): Promise<readonly ExportName[]> {
    const giveBack = await this.context.lists.enter();
    if (this.closed) {
      giveBack();
      return [];
    }
    this.listTurn = giveBack;
    return await this.context.exports.list();
  }

  private endListTurn(): void {
    this.listTurn?.();
    this.listTurn = null;
  }

  private open(name: string): void {
    const opening = this.context.exports.acquire(name);
    this.await(opening, (lease) => {
      this.lease = lease;
      this.stream.sendCopy(this.handshake.opened(lease.facts));
      this.beginTransmission(lease);
    });
    // Whoever hangs up while the export opens leaves nobody to give the lease back but this.
    opening.then(
      (lease) => {
        if (this.closed && this.lease === null) lease.release();
      },
      () => {},
    );
  }

  private beginTransmission(lease: Lease): void {
    if (this.closed) return;
    const { io, limits, shares } = this.context;
    const headers = io.pool.acquire(headerMemoryBytes(limits));
    if (headers === null) {
      this.stream.pause();
      io.pool.whenFree(() => this.beginTransmission(lease));
      return;
    }
    const { facts } = lease;
    this.phase = new TransmissionPhase({
      io,
      stream: this.stream,
      shares,
      device: lease.device,
      stats: lease.stats,
      rules: {
        sizeBytes: facts.sizeBytes,
        readOnly: facts.readOnly,
        blockSizeMinBytes: facts.blockSizeMinBytes,
        structured: this.handshake.structured,
        contexts: this.handshake.selectedContexts(facts.name),
      },
      limits,
      headers,
      onFault: (what) => this.report(what),
      onOver: () => this.over(),
    });
    this.phase.start();
    this.stream.resume();
  }

  private streamClosed(error: Error | null): void {
    this.closed = true;
    this.timer?.cancel();
    this.endListTurn();
    if (error !== null) this.context.log.debug({ peer: this.stream.peer, err: error }, 'connection lost');
    if (this.phase !== null) this.phase.streamClosed();
    else this.over();
  }

  private over(): void {
    this.lease?.release();
    this.context.onOver(this);
  }

  private armTimer(): void {
    this.stopTimer();
    const { clock, handshakeTimeoutMs } = this.context;
    const leftMs = handshakeTimeoutMs * HANDSHAKE_TIMEOUTS - this.waitedMs;
    this.waitsSinceMs = clock.nowMs();
    this.timer = clock.after(Math.min(handshakeTimeoutMs, Math.max(leftMs, 0)), () => {
      const late = leftMs < handshakeTimeoutMs;
      const what = late
        ? 'the handshake takes too long'
        : `no option for ${handshakeTimeoutMs} ms in the handshake`;
      this.fault(what);
    });
  }

  private stopTimer(): void {
    if (this.timer === null) return;
    this.timer.cancel();
    this.timer = null;
    this.waitedMs += this.context.clock.nowMs() - this.waitsSinceMs;
  }

  private fault(what: string): -1 {
    this.report(what);
    this.stream.destroy();
    return -1;
  }

  private report(what: string): void {
    this.context.onFault(what);
    this.context.log.warn(
      { peer: this.stream.peer, export: this.lease?.facts.name },
      `connection dropped: ${what}`,
    );
  }
}
