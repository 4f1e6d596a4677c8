import { writeSync } from 'node:fs';

const PAUSE_MS = 5;
/** A reader of a pipe that does not wait for it gets this long for each line: the server has other things to do. */
const PAUSES = 20;

/**
 * Lines to a descriptor, at once. What cannot be written (a full disk, a reader that is gone) is dropped and
 * counted, never thrown: no server ends, and no guest gets an error, for the sake of its log.
 */
export class LogOutput {
  private readonly fd: number;
  private readonly writeTo: typeof writeSync;
  private dropped = 0;
  private torn = false;

  constructor(fd: number, writeTo: typeof writeSync = writeSync) {
    this.fd = fd;
    this.writeTo = writeTo;
  }

  /** Lines since the last that could be written. */
  get droppedLines(): number {
    return this.dropped;
  }

  write(line: string): void {
    if (!this.put(this.before() + line)) this.dropped++;
    else this.dropped = 0;
  }

  /** That lines are missing is told where they are. */
  private before(): string {
    const end = this.torn ? '\n' : '';
    if (this.dropped === 0) return end;
    const facts = { level: 40, time: Date.now(), pid: process.pid, droppedLines: this.dropped };
    return `${end}${JSON.stringify({ ...facts, msg: 'log lines before this one could not be written' })}\n`;
  }

  private put(text: string): boolean {
    let rest = Buffer.from(text);
    let pauses = 0;
    while (rest.length > 0) {
      try {
        rest = rest.subarray(this.writeTo(this.fd, rest));
        this.torn = rest.length > 0;
      } catch (error) {
        const waits = (error as NodeJS.ErrnoException).code === 'EAGAIN';
        if (!waits || pauses++ >= PAUSES) return false;
        Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, PAUSE_MS);
      }
    }
    return true;
  }
}
