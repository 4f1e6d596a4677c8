import { readvSync, writevSync } from 'node:fs';
import { loadNative } from '../native/index.js';
import { ReadableWatch } from './descriptors.js';
import { EAGAIN, ECANCELED, EINTR, errnoOf } from './errno.js';
import type { SliceList } from './memory.js';
import type { MessageDevice } from './message-device.js';
import type { FileOp } from './types.js';

/** Messages by Node's fs: one is read each time the descriptor is readable, so that no read ever waits. */
export class NodeMessages implements MessageDevice {
  private readonly fd: number;
  private readonly watch: ReadableWatch;
  private readonly waiting: FileOp[] = [];

  constructor(fd: number) {
    this.fd = fd;
    this.watch = new ReadableWatch(fd, () => this.readable());
    this.watch.pause(true);
  }

  read(op: FileOp): void {
    if (this.waiting.push(op) === 1) this.watch.pause(false);
  }

  write(op: FileOp): void {
    const result = outcome(() => writevSync(this.fd, viewsOf(op.slices)));
    setImmediate(() => op.owner.fileDone(op, result));
  }

  async close(): Promise<void> {
    this.watch.close();
    for (const op of this.waiting.splice(0)) op.owner.fileDone(op, -ECANCELED);
    // Answers that were written are told of first.
    await new Promise((resolve) => setImmediate(resolve));
    loadNative().closeFd(this.fd);
  }

  private readable(): void {
    const op = this.waiting[0];
    if (op === undefined) return this.watch.pause(true);
    const result = outcome(() => readvSync(this.fd, viewsOf(op.slices)));
    if (result === -EAGAIN || result === -EINTR) return;
    this.waiting.shift();
    if (this.waiting.length === 0) this.watch.pause(true);
    op.owner.fileDone(op, result);
  }
}

function outcome(call: () => number): number {
  try {
    return call();
  } catch (error) {
    return errnoOf(error as NodeJS.ErrnoException);
  }
}

function viewsOf(slices: SliceList): Buffer[] {
  const views: Buffer[] = [];
  for (let i = 0; i < slices.count; i++) {
    const at = slices.offset[i]!;
    views.push(slices.memory[i]!.bytes.subarray(at, at + slices.length[i]!));
  }
  return views;
}
