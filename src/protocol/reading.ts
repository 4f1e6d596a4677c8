import type { Stream } from '../io/types.js';

/** Why nothing is read from a peer for now; any of them suffices. */
export const Stop = { OWNER: 1, ANSWERS: 2, CALLS: 4 } as const;

/** Whether a stream is read from: several may stop it, and it goes on when none does any more. */
export class Reading {
  private readonly stream: Stream;
  private stops = 0;

  constructor(stream: Stream) {
    this.stream = stream;
  }

  stop(why: number): void {
    if (this.stops === 0) this.stream.pause();
    this.stops |= why;
  }

  goOn(why: number): void {
    if (this.stops === 0) return;
    this.stops &= ~why;
    if (this.stops === 0) this.stream.resume();
  }

  set(why: number, stopped: boolean): void {
    if (stopped) this.stop(why);
    else this.goOn(why);
  }
}
