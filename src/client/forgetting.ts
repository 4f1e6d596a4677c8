import { asRawstorError } from '../common/errors.js';
import { mergeable, type VersionChange } from '../protocol/version-messages.js';
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
  private readonly change: (change: VersionChange) => Promise<void>;
  private asking: Promise<void> | null = null;

  constructor(state: VolumeState, change: (change: VersionChange) => Promise<void>) {
    this.state = state;
    this.change = change;
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
    const asked = { objectId, versions, waitMs };
    const answers = await Promise.all(
      state.members.map(async ({ peer }) =>
        peer === null ? versions : (await peer.call('ost.unmerged', asked, waitMs + ANSWER_MS)).versions,
      ),
    );
    const left = new Set(answers.flat());
    const gone = versions.filter((version) => !left.has(version));
    if (gone.length > 0) await this.change({ kind: 'forget', versions: gone });
  }
}
