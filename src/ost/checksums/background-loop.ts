import type { Timer } from '../../common/clock.js';
import { asRawstorError } from '../../common/errors.js';
import type { OstCore } from '../core.js';

/** After work that failed. */
const PAUSE_MS = 30_000;
/** Operations a second above which clients are at work, and what background work then has of its rate. */
const BUSY_OPS_PER_SEC = 50;
const BUSY_SHARE = 1 / 4;

/** Does rounds of work, one after another, until it is closed. */
export class BackgroundLoop {
  ended = false;
  private readonly core: OstCore;
  private readonly failure: string;
  private readonly periodMs: number;
  private readonly round: () => Promise<void>;
  private running: Promise<void> | null = null;
  private timer: Timer | null = null;
  private wake: (() => void) | null = null;
  private kicked = false;
  private operations = 0;
  private lookedAtMs = 0;
  private isBusy = false;

  /** `failure` is what is logged with the error of a round. */
  constructor(core: OstCore, failure: string, periodMs: number, round: () => Promise<void>) {
    this.core = core;
    this.failure = failure;
    this.periodMs = periodMs;
    this.round = round;
  }

  start(): void {
    this.running ??= this.run();
  }

  /** The next round at once. */
  kick(): void {
    this.kicked = true;
    this.wake?.();
  }

  async close(): Promise<void> {
    this.ended = true;
    this.wake?.();
    await this.running;
  }

  /** What part of its rate the work may have now. */
  share(): number {
    const { core } = this;
    const nowMs = core.env.clock.nowMs();
    const passedMs = nowMs - this.lookedAtMs;
    if (passedMs >= 100) {
      this.isBusy = (core.operations - this.operations) * 1000 > BUSY_OPS_PER_SEC * passedMs;
      this.operations = core.operations;
      this.lookedAtMs = nowMs;
    }
    return this.isBusy ? BUSY_SHARE : 1;
  }

  private async run(): Promise<void> {
    while (!this.ended) {
      let pauseMs = this.periodMs;
      try {
        await this.round();
      } catch (error) {
        this.core.env.log.warn({ reason: asRawstorError(error).toUserText() }, this.failure);
        pauseMs = PAUSE_MS;
      }
      if (!this.kicked) await this.pause(pauseMs);
      this.kicked = false;
    }
  }

  private pause(delayMs: number): Promise<void> {
    if (this.ended) return Promise.resolve();
    return new Promise((resolve) => {
      this.wake = () => {
        this.wake = null;
        this.timer?.cancel();
        resolve();
      };
      this.timer = this.core.env.clock.after(delayMs, () => this.wake?.());
    });
  }
}
