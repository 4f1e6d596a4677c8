import { RawstorError } from '../common/errors.js';
import { EVENT_NOTICE, noticeSchema } from '../protocol/events.js';
import type { ControlLink } from './control-link.js';
import type { VolumeState } from './volume-state.js';

export interface NoticesOwner {
  /** Something of the object may have changed that concerns its holder. */
  look(): void;
  fail(error: RawstorError): void;
}

/**
 * What the MDS tells the holder of a volume unasked, over the connection that renews its lease. Hints: none is needed
 * for safety, and what was missed while the connection was away is made up for by a look when it is back.
 */
export class Notices {
  private readonly state: VolumeState;
  private readonly owner: NoticesOwner;
  private readonly ends: (() => void)[];

  constructor(state: VolumeState, mds: ControlLink, owner: NoticesOwner) {
    this.state = state;
    this.owner = owner;
    this.ends = [
      mds.onEvent((name, params) => this.take(name, params)),
      mds.watch((connected) => {
        if (connected) owner.look();
      }),
    ];
  }

  stop(): void {
    for (const end of this.ends.splice(0)) end();
  }

  private take(name: string, params: unknown): void {
    if (name !== EVENT_NOTICE) return;
    const parsed = noticeSchema.safeParse(params);
    if (!parsed.success) return;
    const { id, sessionEpoch, what, reason } = parsed.data;
    // A session before this one, of the same process, is told over the same connection.
    if (id !== this.state.object.id || sessionEpoch !== this.state.sessionEpoch) return;
    if (what === 'look') return this.owner.look();
    if (what !== 'fenced') return;
    this.owner.fail(
      new RawstorError('FENCED', `this session is over: ${reason}`, {
        where: this.state.name,
        hint: 'a volume has one writer; open it again to write',
      }),
    );
  }
}
