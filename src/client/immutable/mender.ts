import type { Clock } from '../../common/clock.js';
import { asRawstorError } from '../../common/errors.js';
import type { Logger } from '../../common/log.js';
import type { Cluster } from '../cluster.js';
import { givingWay } from '../giving-way.js';

/** The same object is not opened for it again before. */
const PAUSE_MS = 30_000;
const OPEN_TIMEOUT_MS = 10_000;
/** OSTs tell what they found when they are attached; this long without anything new, and all is done. */
const QUIET_MS = 1000;
const LONGEST_MS = 60_000;
const POLL_MS = 100;
/** Objects that wait for their turn; more are met again by the next read. */
const WAITING = 256;

/**
 * Has damaged blocks of frozen objects repaired. A read has got the content from another replica, but nobody holds the object who would
 * repair it, as the writer of a volume does: so it is opened for that, and gives way to whoever wants it.
 */
export class Mender {
  private readonly cluster: Cluster;
  private readonly clock: Clock;
  private readonly log: Logger;
  private readonly waiting = new Set<string>();
  private readonly lately = new Map<string, number>();
  private running: Promise<void> | null = null;
  private closed = false;

  constructor(cluster: Cluster, env: { clock: Clock; log: Logger }) {
    this.cluster = cluster;
    this.clock = env.clock;
    this.log = env.log;
  }

  /** A replica of the object has a block whose checksum is wrong. */
  damaged(objectId: string): void {
    const nowMs = this.clock.nowMs();
    for (const [id, untilMs] of this.lately) if (untilMs <= nowMs) this.lately.delete(id);
    if (this.closed || this.lately.has(objectId) || this.waiting.size >= WAITING) return;
    this.waiting.add(objectId);
    this.running ??= this.mendAll().finally(() => {
      this.running = null;
    });
  }

  async close(): Promise<void> {
    this.closed = true;
    await this.running;
  }

  private async mendAll(): Promise<void> {
    for (const objectId of this.waiting) {
      if (this.closed) return;
      this.waiting.delete(objectId);
      this.lately.set(objectId, this.clock.nowMs() + PAUSE_MS);
      try {
        const { repaired, left } = await this.mend(objectId);
        const facts = { objectId, repaired, left };
        if (left > 0) this.log.error(facts, 'damaged blocks that no replica has whole');
        else this.log.warn(facts, 'damaged blocks were repaired');
      } catch (error) {
        this.log.warn({ objectId, reason: asRawstorError(error).message }, 'damage was not repaired now');
      }
    }
  }

  private mend(objectId: string): Promise<{ repaired: number; left: number }> {
    const { clock } = this;
    return givingWay(this.cluster, objectId, { timeoutMs: OPEN_TIMEOUT_MS }, async (volume, ended) => {
      const beganMs = clock.nowMs();
      let repaired = 0;
      let newsMs = beganMs;
      while (!this.closed && clock.nowMs() - newsMs < QUIET_MS && clock.nowMs() - beganMs < LONGEST_MS) {
        await clock.sleep(POLL_MS);
        const failure = ended();
        if (failure !== null) throw failure;
        const { repairedBlocks } = volume.status();
        if (repairedBlocks > repaired) newsMs = clock.nowMs();
        repaired = repairedBlocks;
      }
      return { repaired, left: volume.status().damagedBlocks };
    });
  }
}
