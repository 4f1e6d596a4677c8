import { asRawstorError, RawstorError } from '../common/errors.js';
import { newId } from '../common/ids.js';
import type { ObjectInfo } from '../protocol/object-info.js';
import {
  type ChunkMap,
  type Member as MemberRecord,
  type ObjectRecord,
  type ObjectVersions,
  parentOn,
  parentWithout,
  versionsOf,
  type WantedMove,
} from '../protocol/records.js';
import { makesHead, type VersionChange } from '../protocol/version-messages.js';
import type { ControlLink } from './control-link.js';
import type { Member } from './member.js';
import type { VolumeState } from './volume-state.js';

/** Puts changes of an in-sync set on record: at the MDS by compare-and-swap, then on every member. */
export class SetRecorder {
  private readonly state: VolumeState;
  private readonly mds: ControlLink;

  constructor(state: VolumeState, mds: ControlLink) {
    this.state = state;
    this.mds = mds;
  }

  /**
   * The compare-and-swap at the MDS, until it is answered; with `adopt` the map is taken too.
   * @throws RawstorError FENCED; NOT_FOUND when that move is not wanted any more
   */
  async changeMembers(
    members: readonly MemberRecord[],
    loss: boolean,
    onAnswer: () => void = () => {},
    adopt: WantedMove | null = null,
  ): Promise<void> {
    const { state } = this;
    const { object } = state;
    const withoutParent = state.members.filter((member) => member.lacksParent).map(({ ostId }) => ostId);
    const answer = await this.mds.callUntilAnswered(
      'mds.changeMembers',
      {
        id: object.id,
        sessionEpoch: state.sessionEpoch,
        expectedEpoch: object.epoch,
        requestId: newId(),
        members: withKept(state, members, loss),
        ...this.forRebuilt(),
        loss,
        ...(adopt === null ? {} : { adopt: adopt.id }),
        ...(withoutParent.length === 0 ? {} : { withoutParent }),
      },
      () => state.fatal !== null,
    );
    onAnswer();
    const since = object.lastSeal + 1;
    const stale = new Set(object.members.filter((member) => member.state === 'stale').map((m) => m.ostId));
    const recorded = withKept(state, members, loss).map((member) => {
      if (member.state !== 'stale') return member;
      if (state.member(member.ostId)?.older === true) return { ...member, staleSince: 0 };
      return stale.has(member.ostId) ? member : { ...member, staleSince: since };
    });
    const { map } = adopt ?? object;
    if (adopt !== null) state.tookMap = true;
    const parent = parentWithout(parentOn(object.parent, map), withoutParent);
    state.recorded({ ...object, map, parent, epoch: answer.epoch, members: recorded });
    if (loss) await this.readAgain();
  }

  /** Records "identical up to the present epoch": no write tagged with it may be on its way. @throws RawstorError FENCED */
  async seal(): Promise<void> {
    const { state } = this;
    const seal = state.epoch;
    const members = withKept(state, state.object.members);
    const answer = await this.mds.callUntilAnswered(
      'mds.seal',
      {
        id: state.object.id,
        sessionEpoch: state.sessionEpoch,
        expectedEpoch: seal,
        requestId: newId(),
        seal,
        members,
        ...this.forRebuilt(),
      },
      () => state.fatal !== null,
    );
    state.recorded({ ...state.object, members, epoch: answer.epoch, lastSeal: seal });
  }

  /**
   * The compare-and-swap of versions or size; with a new head no write may be on its way, and all must be durable.
   * @param askedId the wish that it answers
   * @throws RawstorError FENCED; NOT_FOUND, EXISTS, BUSY, LIMIT, INVALID when it may not be
   */
  async changeVersions(
    change: VersionChange,
    askedId: string | null,
    onAnswer: () => void = () => {},
  ): Promise<void> {
    const { state } = this;
    const { object } = state;
    const { object: answer } = await this.mds.callUntilAnswered(
      'mds.changeVersions',
      {
        id: object.id,
        sessionEpoch: state.sessionEpoch,
        expectedEpoch: object.epoch,
        requestId: newId(),
        change,
        members: withKept(state, object.members),
        ...this.forRebuilt(),
        ...(askedId === null ? {} : { askedId }),
      },
      () => state.fatal !== null,
      ['BUSY', 'LIMIT'],
    );
    onAnswer();
    const { epoch, lastSeal, members, headVersion } = answer;
    if (makesHead(change) && headVersion !== object.headVersion + 1) {
      // One that was rebuilt from older records: its version may be one that has been written.
      throw new RawstorError('CONFLICT', `the MDS knows other versions: its head is ${headVersion}`, {
        where: state.name,
      });
    }
    state.recordEpoch = epoch;
    state.recorded({ ...object, epoch, lastSeal, members, ...versionsOf(answer) });
  }

  /**
   * Has every in-sync member raise the epochs of lately written regions to the tag that comes next. One that fails is
   * no matter: its writes will wait for their own intents. @returns the most regions marked on one
   */
  async markRecent(tag: number): Promise<number> {
    const marked = this.state.inSyncMembers().map(async ({ peer, handle }) => {
      if (peer === null) return 0;
      return (await peer.call('ost.mark', { handle, tag }, 5000).catch(() => ({ regions: 0 }))).regions;
    });
    return Math.max(0, ...(await Promise.all(marked)));
  }

  /** The record alone, without the set. @returns whether nothing waits for it */
  private async tellHead(member: Member): Promise<boolean> {
    const { object, recordEpoch } = this.state;
    if (member.inSync || member.keptEpoch >= recordEpoch) return !member.inSync;
    await member.peer?.call('ost.keepObject', { object: recordOf(object) }, 5000).then(
      () => member.keeps(object),
      () => member.peer?.destroy(),
    );
    return true;
  }

  /** What an MDS that was rebuilt from older records does not know. */
  private forRebuilt(): { versions: ObjectVersions; map?: ChunkMap } {
    const { object, tookMap } = this.state;
    return { versions: versionsOf(object), ...(tookMap ? { map: object.map } : {}) };
  }

  /** With a loss the MDS may take the last seal back, and with it what is stale since when. */
  private async readAgain(): Promise<void> {
    const { state } = this;
    const giveUp = () => state.fatal !== null;
    const object = await this.mds.callUntilAnswered('mds.getObj', { ref: state.object.id }, giveUp);
    // A newer epoch is a newer writer's: the next change tells.
    if (object.epoch !== state.epoch) return;
    state.recorded(object);
    // Who was stale before differs from what is in force now since further back (I9).
    for (const { ostId, staleSince } of object.members) {
      const member = state.member(ostId);
      if (member?.inSync === false) member.staleSince = Math.min(member.staleSince, staleSince);
    }
  }

  /**
   * Every in-sync member keeps the new set before anything is acknowledged under it (I6, I13).
   * @param joining who will be in the next set, when that is recorded
   */
  async storeSet(joining: string[] = []): Promise<boolean> {
    const { state } = this;
    const { object } = state;
    const { lastSeal, lossWallMs, members } = object;
    const set = { epoch: object.epoch, members, joining, versions: versionsOf(object) };
    const outdated = (member: Member) => member.keptEpoch < state.recordEpoch;
    // One that is being resynced has to know the head that it is written to.
    const told = state.members.filter((member) => member.inSync || (member.attached && outdated(member)));
    const stored = await Promise.all(
      told.map(async (member) => {
        const { peer } = member;
        if (peer === null) return !member.inSync;
        // One that was put back from an older copy must not look as if it had kept all.
        if (member.older) return this.tellHead(member);
        try {
          const withRecord = outdated(member) ? { object: recordOf(object) } : {};
          const kept = { set, lastSeal, lossWallMs, ...withRecord };
          await peer.call('ost.storeSet', { handle: member.handle, ...kept }, 5000);
          member.keeps(object);
          member.storedEpoch = Math.max(member.storedEpoch, set.epoch);
          return true;
        } catch (error) {
          state.env.log.warn(
            { ostId: member.ostId, reason: asRawstorError(error).message },
            'set not stored',
          );
          peer.destroy();
          return !member.inSync;
        }
      }),
    );
    return stored.every((one) => one);
  }
}

/** What OSTs keep of an object. */
function recordOf(object: ObjectInfo): ObjectRecord {
  const { clean, lossWallMs, lease, sessionEpoch, wanted, left, recovery, ...record } = object;
  return record;
}

/**
 * Records of members, with what each is known to have kept: 0 is said of one that was put back from an older copy, and is dropped for that.
 * @param loss or stays with it
 */
export function withKept(state: VolumeState, members: readonly MemberRecord[], loss = false): MemberRecord[] {
  return members.map((record) => {
    const member = state.member(record.ostId);
    if (member === undefined || (member.storedEpoch === 0 && !member.older)) return { ...record };
    const forgot = member.older && (loss || record.state === 'stale');
    return { ...record, keptEpoch: forgot ? 0 : member.storedEpoch };
  });
}
