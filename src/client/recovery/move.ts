import { asRawstorError } from '../../common/errors.js';
import type { Result } from '../../protocol/messages.js';
import type { BootId, Member as MemberRecord, WantedMove } from '../../protocol/records.js';
import type { ControlLink } from '../control-link.js';
import { Member, type MemberOwner } from '../member.js';
import { changedMembers } from '../replica-set.js';
import type { SetRecorder } from '../set-recorder.js';
import type { VolumeState } from '../volume-state.js';

/** What the MDS says at an open and at each renewal. */
export type MoveNews = Pick<Result<'mds.renew'>, 'osts' | 'wanted' | 'left'>;

export interface MoveOwner extends MemberOwner {
  /** The member is to be brought in sync. */
  resync(member: Member): void;
  /** Nothing is sent to it any more. */
  giveUp(member: Member): void;
}

/**
 * Replacing an OST by another, or adding one (a lost disk, a drain, a rebalance): the new one is a member all
 * of whose regions are older than those of all others. It is resynced like any (I9), and with its join the map is
 * taken. Until then nothing of it is on record, so a move may be given up or begun again at any time.
 */
export class Move {
  private readonly state: VolumeState;
  private readonly mds: ControlLink;
  private readonly owner: MoveOwner;
  private lastId: string | null = null;
  private telling = false;

  constructor(state: VolumeState, mds: ControlLink, owner: MoveOwner) {
    this.state = state;
    this.mds = mds;
    this.owner = owner;
  }

  follow({ wanted, left, osts }: MoveNews): void {
    const { state } = this;
    if (state.fatal !== null || state.closing) return;
    // An answer may be older than the end of that move.
    const over = wanted !== null && wanted.id === this.lastId && state.move === null;
    if (!over && wanted?.id !== state.move?.wanted.id) {
      // While its join is on its way nothing is changed; the next renewal looks again.
      if (state.move?.target.counts === true) return;
      this.giveUp();
      if (wanted !== null) this.begin(wanted, osts);
    }
    state.left = left.filter((ostId) => state.member(ostId) === undefined);
    this.tellLeft();
  }

  private begin(wanted: WantedMove, osts: MoveNews['osts']): void {
    const { state } = this;
    const ost = osts.find(({ ostId }) => ostId === wanted.to);
    if (ost === undefined || state.member(wanted.to) !== undefined) return;
    const target = new Member(ost, false, 0, null, this.owner);
    this.lastId = wanted.id;
    state.move = { wanted, target };
    state.setMembers([...state.members, target]);
    state.env.log.info({ volume: state.name, from: wanted.from, to: wanted.to }, 'a move begins');
    this.owner.resync(target);
  }

  private giveUp(): void {
    const { state } = this;
    if (state.move === null) return;
    const { target } = state.move;
    state.move = null;
    state.setMembers(state.members.filter((member) => member !== target));
    endAll([target], this.owner);
  }

  /** Who has left may be told to delete: nobody attaches there any more, and every OST in sync has the present map. */
  private tellLeft(): void {
    const { state } = this;
    if (state.left.length === 0 || state.acksHeld || state.recordToStore || this.telling) return;
    this.telling = true;
    const ostIds = state.left.slice(0, 64);
    this.mds
      .call('mds.moveStored', { id: state.object.id, sessionEpoch: state.sessionEpoch, ostIds }, 5000)
      .then(
        () => {
          state.left = state.left.filter((ostId) => !ostIds.includes(ostId));
        },
        (error) => state.env.log.debug({ reason: asRawstorError(error).message }, 'not told who has left'),
      )
      .finally(() => {
        this.telling = false;
      });
  }

  /** To be called when the set has been stored on everybody in sync. */
  stored(): void {
    this.tellLeft();
  }
}

/** Of members that are none any more. */
export function endAll(gone: readonly Member[], path: { giveUp(member: Member): void }): void {
  for (const member of gone) {
    member.receiving = false;
    member.end(false);
    path.giveUp(member);
  }
}

/**
 * The compare-and-swap by which a member joins; with the target of a move the map is taken. From its answer until
 * everybody in sync has stored that, nothing is acknowledged: an older set names one who gets no writes any more.
 * @returns who has left with it; null when the move is not wanted any more
 */
export async function recordJoin(
  state: VolumeState,
  recorder: SetRecorder,
  member: Member,
  bootId: BootId,
): Promise<readonly Member[] | null> {
  const { object, move } = state;
  const join = new Map([[member.ostId, bootId]]);
  if (move?.target !== member) {
    await recorder.changeMembers(changedMembers(object.members, { join }), false);
    return [];
  }
  const pool = new Set(move.wanted.map.pool.map(({ ostId }) => ostId));
  const staying = object.members.filter(({ ostId }) => pool.has(ostId));
  const joined: MemberRecord = { ostId: member.ostId, state: 'in-sync', bootId, staleSince: 0 };
  const hold = () => {
    state.acksHeld = true;
  };
  try {
    await recorder.changeMembers([...staying, joined], false, hold, move.wanted);
  } catch (error) {
    if (asRawstorError(error).code === 'NOT_FOUND') return null;
    throw error;
  }
  const gone = state.members.filter(({ ostId }) => !pool.has(ostId));
  for (const one of gone) one.inSync = false;
  state.move = null;
  state.recordEpoch = state.epoch;
  state.left = [...state.left, ...gone.map(({ ostId }) => ostId)];
  state.setMembers(state.members.filter((one) => !gone.includes(one)));
  state.env.log.info({ volume: state.name, from: move.wanted.from, to: move.wanted.to }, 'a move has ended');
  return gone;
}
