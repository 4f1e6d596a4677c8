import type { ServerResponse } from 'node:http';
import type { Clock, Timer } from '../common/clock.js';
import type { BodyPace } from './incoming.js';

/** What is handed over at a time: so much of a slow client's progress is seen. */
const SLICE_BYTES = 64 * 1024;

/** The content of an answer, as its client takes it: nothing is held for it besides the piece that is being written. */
export class OutgoingBody {
  private readonly response: ServerResponse;
  private readonly clock: Clock;
  private readonly pace: BodyPace;
  private waitedMs = 0;
  private bytes = 0;

  constructor(response: ServerResponse, clock: Clock, pace: BodyPace) {
    this.response = response;
    this.clock = clock;
    this.pace = pace;
  }

  /** @throws Error ERR_STREAM_PREMATURE_CLOSE when the client has gone, or takes it too slowly */
  async write(piece: Buffer): Promise<void> {
    for (let at = 0; at < piece.length; at += SLICE_BYTES) {
      if (this.response.destroyed) throw gone();
      const slice = piece.subarray(at, at + SLICE_BYTES);
      const taken = this.response.write(slice);
      if (!taken) await this.drained();
      this.bytes += slice.length;
    }
  }

  private async drained(): Promise<void> {
    const { response, clock } = this;
    for (;;) {
      const sinceMs = clock.nowMs();
      const come = await this.within(Math.max(1, this.pace.windowMs - this.waitedMs));
      this.waitedMs += clock.nowMs() - sinceMs;
      if (response.destroyed) throw gone();
      this.judge();
      if (come) return;
    }
  }

  /** @returns whether it takes more */
  private within(timeoutMs: number): Promise<boolean> {
    const { response } = this;
    return new Promise<boolean>((resolve) => {
      const end = (come: boolean) => {
        timer.cancel();
        response.off('drain', drain).off('close', drain);
        resolve(come);
      };
      const drain = () => end(true);
      const timer: Timer = this.clock.after(timeoutMs, () => end(false));
      response.on('drain', drain).on('close', drain);
    });
  }

  /** At the end of a window, which only time counts for that is spent waiting. */
  private judge(): void {
    const { bytesPerSecond, windowMs } = this.pace;
    if (this.waitedMs < windowMs) return;
    const slow = this.bytes < (bytesPerSecond * windowMs) / 1000;
    this.waitedMs = 0;
    this.bytes = 0;
    if (slow) throw gone();
  }
}

/** As a stream says it whose reader has gone: only the connection can say that the content is not whole. */
function gone(): Error {
  return Object.assign(new Error('the client does not take it'), { code: 'ERR_STREAM_PREMATURE_CLOSE' });
}
