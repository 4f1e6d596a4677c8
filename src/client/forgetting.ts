import { asRawstorError } from '../common/errors.js';
import { mergeable } from '../protocol/version-messages.js';
import type { Membership } from './membership.js';
import type { VolumeState } from './volume-state.js';

/** Beyond what an OST may wait before it answers. */
const ANSWER_MS = 5000;

/**
 * Versions without a name go from the record when no OST has anything of them: each deletes them, or merges them into the
 * version over them, by itself. Every member is asked, stale ones too: what comes back later must not have files of a
 * version that nobody knows.
 */
export class Forgetting {
  private readonly state: VolumeState;
  private readonly membership: Pick<Membership, 'changeVersions' | 'seal'>;
  private asking: Promise<void> | null = null;
  /** The record that the MDS has confirmed since all members keep it. */
  private confirmedEpoch = -1;

  constructor(state: VolumeState, membership: Pick<Membership, 'changeVersions' | 'seal'>) {
    this.state = state;
    this.membership = membership;
  }

  /** To be called now and then. @param waitMs how long OSTs may wait for the end of their merging */
  look(waitMs = 0): Promise<void> {
    this.asking ??= this.once(waitMs)
      .catch((error) => {
        this.state.env.log.debug({ reason: asRawstorError(error).message }, 'no versions forgotten now');
      })
      .finally(() => {
        this.asking = null;
      });
    return this.asking;
  }

  private async once(waitMs: number): Promise<void> {
    const { state } = this;
    const { id: objectId } = state.object;
    const versions = mergeable(state.object);
    if (versions.length === 0 || state.fatal !== null || state.closing) return;
    // Who was told of an older record does not merge yet.
    if (state.acksHeld || state.members.some((member) => member.keptEpoch < state.recordEpoch)) return;
    if (!(await this.confirmed())) return;
    const asked = { objectId, versions, waitMs };
    const answers = await Promise.all(
      state.members.map(async ({ peer }) =>
        peer === null ? versions : (await peer.call('ost.unmerged', asked, waitMs + ANSWER_MS)).versions,
      ),
    );
    const left = new Set(answers.flat());
    const gone = versions.filter((version) => !left.has(version));
    if (gone.length > 0) await this.membership.changeVersions({ kind: 'forget', versions: gone }, null);
  }

  /**
   * OSTs merge when they are asked, and that cannot be undone. A record that all of them keep is found by any rebuild from then on; but one
   * may have begun before, and know these versions as they were: a change that the MDS of now accepts tells it, or that this session is over.
   */
  private async confirmed(): Promise<boolean> {
    const { recordEpoch } = this.state;
    if (this.confirmedEpoch === recordEpoch) return true;
    await this.membership.seal();
    if (this.state.fatal !== null || this.state.recordEpoch !== recordEpoch) return false;
    this.confirmedEpoch = recordEpoch;
    return true;
  }
}
