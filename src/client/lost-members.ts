import { asRawstorError } from '../common/errors.js';
import type { IoPath } from './io-path.js';
import type { Member } from './member.js';
import type { VolumeState } from './volume-state.js';

const REATTACH_TIMEOUT_MS = 1000;
const RETRY_MS = 300;

const isLost = (member: Member) => member.required && !member.whole;

/** Members whose answer is needed and that are not there, and the way to get them back without the MDS. */
export class LostMembers {
  private readonly state: VolumeState;
  private readonly path: IoPath;

  constructor(state: VolumeState, path: IoPath) {
    this.state = state;
    this.path = path;
  }

  members(): Member[] {
    return this.state.members.filter(isLost);
  }

  any(): boolean {
    return this.state.members.some(isLost);
  }

  /** One try each. Who is there again, with all it had, gets what it has not answered. @throws RawstorError FENCED */
  async attachAgain(lost: readonly Member[]): Promise<void> {
    const { connector, clock } = this.state.env;
    await Promise.all(
      lost.map(async (member) => {
        if (member.attached) return;
        const session = { epoch: this.state.sessionEpoch, number: this.state.sessionNumber() };
        try {
          await member.attach(connector, clock, this.state.object, session, REATTACH_TIMEOUT_MS);
        } catch (error) {
          if (asRawstorError(error).code === 'FENCED') throw error;
        }
      }),
    );
    for (const member of lost) if (member.whole) this.path.resend(member);
  }

  /**
   * Waits for the answer to a compare-and-swap, as long as the MDS is away. Until then the old and the new set are in
   * force (I1); who is lost meanwhile is attached again, which needs nobody's word, so that I/O goes on.
   */
  async answered<T>(swap: Promise<T>): Promise<T> {
    let waiting = true;
    const over = () => {
      waiting = false;
    };
    const settled = swap.then(over, over);
    for (;;) {
      await Promise.race([settled, this.state.env.clock.sleep(RETRY_MS)]);
      if (!waiting) return swap;
      const lost = this.members();
      if (lost.length === 0) continue;
      await this.attachAgain(lost);
      this.path.review();
    }
  }
}
