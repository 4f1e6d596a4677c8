import { type Mapping, type MessageDevice, mapAnonymous } from '../io/index.js';
import { type Releasable, SliceList } from '../io/memory.js';
import { FileOp, type FileOpOwner } from '../io/types.js';
import { FUSE_LIMITS, IN_HEADER_BYTES, PAGE_BYTES, WRITE_IN_BYTES } from './constants.js';

/** What the kernel wants there to be room for with every read. */
const MESSAGE_BYTES = IN_HEADER_BYTES + WRITE_IN_BYTES + FUSE_LIMITS.payloadBytes;
/** So that the data of a WRITE begins at a page. */
const START = PAGE_BYTES - IN_HEADER_BYTES - WRITE_IN_BYTES;

/** Memory for one message. Whoever keeps it past the call releases it. */
export class Slot extends FileOp implements Releasable {
  readonly memory: Mapping;
  readonly start = START;
  private readonly inbox: Inbox;

  constructor(inbox: Inbox) {
    super(inbox, new SliceList());
    this.inbox = inbox;
    this.memory = mapAnonymous(PAGE_BYTES + FUSE_LIMITS.payloadBytes);
    this.slices.add(this.memory, START, MESSAGE_BYTES);
  }

  release(): void {
    this.inbox.back(this);
  }
}

export interface InboxOwner {
  /** True when the slot is kept until it is released. */
  message(slot: Slot, lengthBytes: number): boolean;
  /** There comes nothing more; null: the file system is not mounted any more. */
  ended(errno: number | null): void;
}

const ENOENT = 2;
const ENODEV = 19;
const ECONNABORTED = 103;
const ECANCELED = 125;

/** Takes messages from the kernel, some at a time, as long as there is memory for them. */
export class Inbox implements FileOpOwner {
  private readonly device: MessageDevice;
  private readonly owner: InboxOwner;
  private readonly all: Slot[] = [];
  private readonly free: Slot[] = [];
  private reading = 0;
  private over = false;
  private paused = false;

  constructor(device: MessageDevice, owner: InboxOwner) {
    this.device = device;
    this.owner = owner;
  }

  start(): void {
    while (!this.over && !this.paused && this.reading < FUSE_LIMITS.readsWaiting) {
      const slot = this.free.pop() ?? this.more();
      if (slot === null) return;
      this.read(slot);
    }
  }

  /** Most are kept by writes that are not done: the others are for who does not write. */
  get isScarce(): boolean {
    return this.all.length - this.free.length > FUSE_LIMITS.slots - FUSE_LIMITS.slotsReserved;
  }

  /** Takes nothing more until `start`. */
  pause(paused: boolean): void {
    this.paused = paused;
    if (!paused) this.start();
  }

  /** Takes nothing more, for good. */
  stop(): void {
    this.over = true;
  }

  fileDone(op: FileOp, result: number): void {
    const slot = op as Slot;
    this.reading--;
    // Who asked did not wait for it.
    if (result === -ENOENT && !this.over) return this.read(slot);
    if (result < 0) {
      this.free.push(slot);
      if (this.over) return;
      this.over = true;
      const unmounted = result === -ENODEV || result === -ECONNABORTED || result === -ECANCELED;
      return this.owner.ended(unmounted ? null : -result);
    }
    if (!this.owner.message(slot, result)) this.free.push(slot);
    this.start();
  }

  back(slot: Slot): void {
    this.free.push(slot);
    if (this.reading === 0) this.start();
  }

  /** After the device was closed. */
  unmap(): void {
    for (const slot of this.all) slot.memory.unmap();
    this.all.length = 0;
  }

  private read(slot: Slot): void {
    this.reading++;
    this.device.read(slot);
  }

  private more(): Slot | null {
    if (this.all.length >= FUSE_LIMITS.slots) return null;
    const slot = new Slot(this);
    this.all.push(slot);
    return slot;
  }
}
