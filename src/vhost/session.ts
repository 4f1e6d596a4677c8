import type { BlockDevice } from '../block/index.js';
import { asRawstorError, RawstorError } from '../common/errors.js';
import type { Logger } from '../common/log.js';
import { DescriptorSocket, type Io, tornPages } from '../io/index.js';
import { BackendRequest, Feature, HeaderFlag, hasBit, ProtocolFeature } from './constants.js';
import type { DirtyLog } from './dirty-log.js';
import { GuestMemory } from './guest-memory.js';
import { answerTo, type Reply } from './handlers.js';
import type { InflightArea } from './inflight-area.js';
import { type Message, MessageReader } from './message-reader.js';
import { encodeMessage, encodeU64 } from './messages.js';
import { PassedFiles } from './passed-files.js';
import { RequestBudget } from './request-budget.js';
import { Vring } from './vring.js';
import type { VringHost } from './vring-host.js';
import type { WriteCopies } from './write-copies.js';

export interface SessionOptions {
  readonly io: Io;
  readonly log: Logger;
  readonly device: BlockDevice;
  readonly serial: string;
  readonly copies: WriteCopies;
  readonly queues: number;
  /** As the front-end before has left it. */
  readonly writeback: boolean;
  /** False where the guest may come from elsewhere: what it has said there nobody tells here. */
  readonly writebackKnown: boolean;
  /** The front-end is gone and nothing of it is in flight any more. Once. */
  onOver(): void;
}

/** One front-end, from its connection to its end: messages come one at a time, each is done before the next is read. */
export class Session implements VringHost {
  readonly io: Io;
  readonly log: Logger;
  readonly device: BlockDevice;
  readonly serial: string;
  readonly copies: WriteCopies;
  readonly passed = new PassedFiles();
  readonly memory = new GuestMemory((fds) => void this.passed.close(fds));
  readonly budget = new RequestBudget();
  readonly rings: Vring[] = [];
  readonly queues: number;
  features = 0n;
  protocolFeatures = 0n;
  status = 0n;
  /** The guest's, until it says otherwise: front-ends keep it over resets and connections, and do not say it again. */
  writeback: boolean;
  /** Else every change is durable, until the guest says something or asks for a FLUSH, which one that has turned it off does not. */
  writebackKnown: boolean;
  dirtyLog: DirtyLog | null = null;
  inflight: InflightArea | null = null;
  private readonly options: SessionOptions;
  readonly socket: DescriptorSocket;
  private readonly reader: MessageReader;
  backend: DescriptorSocket | null = null;
  private ended = false;
  private whenEnded: Promise<void> | null = null;
  private runs = false;
  private ran = false;
  private torn = false;
  private tornSeen = tornPages();
  private frozen = false;
  private serving = false;
  private betweenMessages = () => {};

  constructor(socket: DescriptorSocket, options: SessionOptions) {
    this.options = options;
    this.socket = socket;
    this.reader = new MessageReader(socket);
    this.io = options.io;
    this.log = options.log;
    this.device = options.device;
    this.serial = options.serial;
    this.copies = options.copies;
    this.queues = options.queues;
    this.writeback = options.writeback;
    this.writebackKnown = options.writebackKnown;
    for (let i = 0; i < options.queues; i++) this.rings.push(new Vring(i, this));
  }

  start(): void {
    this.socket.onReadable(() => this.readable());
  }

  /** The front-end is gone; something of it may still be in flight. */
  get ending(): boolean {
    return this.ended;
  }

  get writeThrough(): boolean {
    if (!hasBit(this.features, Feature.FLUSH)) return true;
    return hasBit(this.features, Feature.CONFIG_WCE) && !(this.writeback && this.writebackKnown);
  }

  get dirty(): DirtyLog | null {
    return hasBit(this.features, Feature.LOG_ALL) ? this.dirtyLog : null;
  }

  inflightBytes(index: number, size: number): Buffer | null {
    return this.inflight?.queue(index, size) ?? null;
  }

  onBroken(index: number, fault: string): void {
    const text = 'the guest has broken a queue: it is served no more until the device is reset';
    this.log.warn({ queue: index, fault }, text);
  }

  isTorn(): boolean {
    const pages = tornPages();
    if (pages !== this.tornSeen) {
      this.tornSeen = pages;
      const parts = [this.memory, this.inflight, this.dirtyLog, ...this.rings];
      if (!this.torn && parts.some((part) => part?.isTorn === true)) {
        this.torn = true;
        this.fault(new RawstorError('INVALID', 'the front-end has taken memory away that it had shared'));
      }
    }
    return this.torn;
  }

  /** A guest whose rings are all stopped does not run: the volume may go where it runs next. */
  onStarted(): void {
    const runs = this.rings.some((ring) => ring.started);
    // Frozen is not stopped: the volume is for who takes this process's place, and for nobody else.
    if (runs !== this.runs && (runs || !this.frozen)) this.device.rest?.(!runs, this.ran);
    this.runs = runs;
    if (!runs || this.ran) return;
    this.ran = true;
    // It may have asked the server before this one, and asks no other: its guest would have the size of then for ever.
    this.configChanged();
  }

  /** Tells the front-end that the configuration, the size for instance, is another. */
  configChanged(): void {
    if (this.backend === null || this.ended) return;
    try {
      this.backend.send(encodeMessage(BackendRequest.CONFIG_CHANGE, 0, Buffer.alloc(0)));
    } catch (error) {
      this.log.warn({ err: error }, 'the front-end was not told of a new configuration');
    }
  }

  setBackendSocket(fd: number): void {
    if (this.backend !== null) void this.passed.close([this.backend.release()]);
    this.backend = new DescriptorSocket(fd);
  }

  /** Nothing is in flight while `change` runs; then the rings go on. */
  async quietly(change: () => void): Promise<void> {
    for (const ring of this.rings) ring.hold(true);
    await Promise.all(this.rings.map((ring) => ring.whenIdle()));
    try {
      // Whoever ends meanwhile gives everything back, and takes nothing new.
      if (this.ended) throw new RawstorError('CONNECTION_LOST', 'the front-end is gone');
      change();
    } finally {
      for (const ring of this.rings) ring.hold(false);
    }
  }

  /**
   * As after a reset: rings stopped, nothing negotiated but what belongs to the connection. `writeback` stays.
   * @param told the front-end knows of it; one that is gone may come back for rings that go on where they were
   */
  async reset(told = true): Promise<void> {
    await Promise.all(this.rings.map((ring) => ring.stop(() => told)));
    for (const ring of this.rings) ring.close();
    this.features = 0n;
    this.status = 0n;
  }

  setDirtyLog(log: DirtyLog | null): void {
    this.dirtyLog?.close();
    this.dirtyLog = log;
  }

  setInflight(area: InflightArea | null): void {
    this.inflight?.close();
    this.inflight = area;
    this.setWriteback(this.writeback && area?.writeThrough !== true);
  }

  /** Also for the process after this one, which no front-end tells of it. */
  setWriteback(on: boolean): void {
    this.writeback = on;
    this.inflight?.setWriteThrough(!on);
  }

  /** Ends the connection; what is in flight is waited for, but not what its descriptors wait for. */
  end(): Promise<void> {
    this.whenEnded ??= this.endOnce();
    return this.whenEnded;
  }

  private async endOnce(): Promise<void> {
    this.ended = true;
    this.betweenMessages();
    const left = [this.socket.release(), ...this.reader.release()];
    if (this.backend !== null) left.push(this.backend.release());
    void this.passed.close(left);
    this.device.withdraw?.(() => true);
    await this.reset(false);
    // Not told while it was frozen.
    if (this.frozen) this.device.rest?.(true);
    this.memory.clear();
    this.setInflight(null);
    this.setDirtyLog(null);
    // One that comes could leave as many behind.
    void this.passed.whenDone().then(() => this.options.onOver());
  }

  /** Takes and does nothing, with nothing in flight and no message half read, until `thaw`, which may come before that. */
  async freeze(): Promise<void> {
    this.frozen = true;
    while (this.frozen && !this.ended && (this.serving || this.reader.isMidway)) {
      await new Promise<void>((resolve) => {
        this.betweenMessages = resolve;
      });
    }
    if (!this.frozen) return;
    if (!this.ended) this.socket.pause(true);
    await Promise.all(this.rings.map((ring) => ring.freeze()));
  }

  /** Goes on; also a session that was made from another process's. */
  thaw(): void {
    this.frozen = false;
    this.betweenMessages();
    // With a message at work no ring was frozen yet: it may hold them, so that memory can go, and reads on by itself.
    if (this.ended || this.serving) return;
    try {
      for (const ring of this.rings) ring.thaw();
      this.start();
    } catch (error) {
      this.fault(asRawstorError(error));
    }
  }

  private readable(): void {
    if (this.ended) return;
    // Its end is all that is told of while a message is at work, which may wait for longer than the front-end does.
    if (this.serving) return this.over();
    if (this.frozen && !this.reader.isMidway) return this.socket.pause(true);
    let message: Message | 'end' | null;
    try {
      message = this.reader.next();
    } catch (error) {
      return this.fault(asRawstorError(error));
    }
    if (message === null) return;
    if (message === 'end') return this.over();
    this.socket.awaitEnd();
    this.serving = true;
    const served = this.serve(message);
    void (message.fds.length > 0 ? this.passed.during(served) : served).finally(() => {
      this.serving = false;
      this.betweenMessages();
    });
  }

  private over(): void {
    this.log.info('the front-end has disconnected');
    void this.end();
  }

  private async serve(message: Message): Promise<void> {
    const { header, fds } = message;
    let reply: Reply | null = null;
    let failure: RawstorError | null = null;
    try {
      reply = await answerTo(this, message);
    } catch (error) {
      failure = asRawstorError(error);
    }
    await this.passed.close(fds);
    if (this.ended) return;
    const wanted = (header.flags & HeaderFlag.NEED_REPLY) !== 0;
    const acknowledges = wanted && hasBit(this.protocolFeatures, ProtocolFeature.REPLY_ACK);
    if (failure !== null && !acknowledges) return this.fault(failure, header.request);
    if (failure !== null) this.log.warn({ request: header.request, err: failure }, 'request refused');
    if (reply === null && acknowledges) reply = { payload: encodeU64(failure === null ? 0n : 1n) };
    try {
      if (reply !== null) this.reply(header.request, reply);
      this.socket.pause(false);
    } catch (error) {
      this.fault(asRawstorError(error));
    }
  }

  private reply(request: number, { payload, fds = [] }: Reply): void {
    this.socket.send(encodeMessage(request, HeaderFlag.REPLY, payload), fds);
  }

  private fault(error: RawstorError, request?: number): void {
    this.log.warn({ err: error, request }, 'the front-end is dropped');
    void this.end();
  }
}
