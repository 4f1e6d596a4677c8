import { asRawstorError, RawstorError } from '../common/errors.js';
import { type BootId, type Member as MemberRecord, sameBootId } from '../protocol/records.js';
import type { ControlLink } from './control-link.js';
import { giveBack } from './give-back.js';
import { Member, type MemberOwner, unknownOst } from './member.js';
import { notForRepair, notWhole } from './not-whole.js';
import type { OpenVolumeOptions } from './open-options.js';
import { askForSession, type Opened } from './open-session.js';
import { follow, followVersions, newestStored } from './rebuilt.js';
import { listRegions } from './recovery/copy.js';
import { keepShared } from './recovery/newer.js';
import { RegionSet } from './region-set.js';
import { changedMembers, decideOpen, type OpenDecision, type OpenFinding } from './replica-set.js';
import { SetRecorder } from './set-recorder.js';
import { Volume } from './volume.js';
import { type VolumeEnvironment, VolumeState } from './volume-state.js';

const ATTACH_TIMEOUT_MS = 3000;
const RETRY_MS = 300;

/**
 * The sequence of an open (docs/consistency): epoch and map from the MDS, attach everywhere so that earlier
 * writers are fenced (I4), leave out who is away or suspect (I7, I8), record that, wait T where a former
 * writer may still believe in itself (I14), then serve and reconcile behind.
 */
export async function openVolume(
  env: VolumeEnvironment,
  mds: ControlLink,
  ref: string,
  options: OpenVolumeOptions,
  holder: string,
): Promise<Volume> {
  const opened = await askForSession(env, mds, ref, options, holder);
  options.onSession?.(opened.sessionEpoch);
  const opening = new Opening(env, mds, opened, options);
  try {
    return await opening.run();
  } catch (error) {
    opening.abandon();
    const failure = asRawstorError(error);
    if (options.mode === 'write') {
      // The volume stays as unclean as it was: nothing has been written.
      const { object, sessionEpoch, wasClean } = opened;
      await giveBack(mds, env.log, { id: object.id, sessionEpoch, clean: wasClean && !opening.recorded });
    }
    throw failure;
  }
}

class Opening implements MemberOwner {
  /** The set was changed: the object is not as it was. */
  recorded = false;
  private readonly env: VolumeEnvironment;
  private readonly mds: ControlLink;
  private readonly opened: Opened;
  private readonly options: OpenVolumeOptions;
  private readonly state: VolumeState;
  private volume: Volume | null = null;
  private attachedAtMs = 0;
  /** OSTs knew newer versions of the object than the MDS. */
  private othersKnown = false;
  /** As the MDS has them or, after a rebuild of it, as an OST knows better. */
  private records: readonly MemberRecord[];
  /** Regions newer than the last seal, as listed after the attach: the fence keeps them as they are. */
  private readonly newer = new Map<Member, RegionSet>();

  constructor(env: VolumeEnvironment, mds: ControlLink, opened: Opened, options: OpenVolumeOptions) {
    this.env = env;
    this.mds = mds;
    this.opened = opened;
    this.options = options;
    const { object } = opened;
    this.records = object.members;
    const infos = new Map(opened.osts.map((ost) => [ost.ostId, ost]));
    const members = object.members.map((record) => {
      const ost = infos.get(record.ostId) ?? unknownOst(record.ostId);
      const member = new Member(ost, record.state === 'in-sync', record.staleSince, record.bootId, this);
      // An earlier session of the same guest may have acknowledged what it never flushed.
      member.dirty = !opened.wasClean;
      member.hadKept(record.keptEpoch ?? 0);
      return member;
    });
    this.state = new VolumeState(env, object, opened.sessionEpoch, members);
    this.state.givesWay = options.yields === true;
    this.state.fileNow = options.fileNow ?? null;
  }

  async run(): Promise<Volume> {
    const { options, opened } = this;
    if (options.mode === 'read') throw this.onlyForWriting();
    const found = await this.settle();
    const older = this.state.inSyncMembers().some((one) => one.older && !found.drop.has(one.ostId));
    // What rows and journals name was flushed on every member of the set, so of sealed or to be sealed data nothing is lost by that.
    const decision = opened.object.mode === 'immutable' && !older ? { ...found, loss: false } : found;
    // Of what is only read, nobody else would open it to say so.
    const mayTell = options.yields !== true || opened.object.mode === 'immutable';
    if (decision.loss && !mayTell) throw notForRepair(opened.object.name);
    if (decision.loss) await this.outwait();
    await this.record(decision, found.loss);
    if (!opened.wasClean || older) {
      if (older) await this.listAll();
      this.findUnreconciled();
      await this.outwait();
    }
    // The gateway that recorded it may have died before it told: a guest that outlives it hears of it here.
    if (decision.loss || (opened.lossUntold && options.yields !== true)) this.state.noteLoss();
    return this.hand(false);
  }

  /** Whoever wrote before may serve reads and acknowledge until T after its last confirmation (I14, I5). */
  private async outwait(): Promise<void> {
    const waitedMs = this.env.clock.nowMs() - this.attachedAtMs;
    if (waitedMs < this.env.confirmMs) await this.env.clock.sleep(this.env.confirmMs - waitedMs);
  }

  abandon(): void {
    for (const member of this.state.members) member.endForGood();
  }

  memberEnded(member: Member): void {
    this.volume?.memberEnded(member);
  }

  memberConfirmed(member: Member): void {
    this.volume?.memberConfirmed(member);
  }

  private hand(readOnly: boolean): Volume {
    const { leaseMs } = this.opened;
    this.volume = new Volume(this.state, this.mds, { readOnly, leaseMs });
    const { object, osts } = this.opened;
    this.volume.start({ osts, wanted: object.wanted, left: object.left });
    return this.volume;
  }

  /** Attaches everywhere and decides, again and again while somebody has to be waited for. */
  private async settle(): Promise<OpenDecision> {
    const { clock } = this.env;
    const deadlineMs = clock.nowMs() + (this.options.timeoutMs ?? 15_000);
    for (;;) {
      const { rebuiltFrom } = this.opened;
      const asked = rebuiltFrom === null ? this.state.inSyncMembers() : this.state.members;
      await Promise.all(asked.filter((member) => !member.attached).map((member) => this.attach(member)));
      this.attachedAtMs = clock.nowMs();
      const unheard = rebuiltFrom === null ? null : this.followNewest(rebuiltFrom);
      const members = this.state.inSyncMembers();
      const findings = await Promise.all(members.map((member) => this.finding(member)));
      const { wasClean, object } = this.opened;
      const decide = (acceptLoss: boolean) => decideOpen(object, findings, wasClean, acceptLoss, unheard);
      const decision = decide(false);
      if (decision.waitFor.length === 0) return decision;
      if (clock.nowMs() > deadlineMs) {
        // Only what does not come back in time is given up.
        const last = decide(this.options.acceptLoss ?? false);
        if (last.waitFor.length === 0) return last;
        throw notWhole(this.state, last.waitFor);
      }
      await clock.sleep(RETRY_MS);
    }
  }

  /** @returns OSTs that may know better, and are not there */
  private followNewest(rebuiltFrom: number): string[] {
    const { members } = this.state;
    const { set, joining } = newestStored(members, rebuiltFrom);
    if (set !== null && set.members !== this.records) {
      this.records = set.members;
      follow(members, set.members);
      if (followVersions(this.state, set.versions)) this.othersKnown = true;
    }
    const may = members.filter(({ inSync, ostId }) => inSync || joining.has(ostId));
    return may.filter(({ attached }) => !attached).map(({ ostId }) => ostId);
  }

  private async attach(member: Member): Promise<void> {
    const session = { epoch: this.opened.sessionEpoch, number: this.state.sessionNumber() };
    try {
      // Until a set is recorded, the one of a rebuilt MDS must not look newer than what OSTs have.
      const epoch = this.opened.rebuiltFrom ?? this.opened.object.epoch;
      const object = { ...this.opened.object, epoch };
      await member.attach(this.env.connector, this.env.clock, object, session, ATTACH_TIMEOUT_MS);
    } catch (error) {
      const failure = asRawstorError(error);
      if (failure.code === 'FENCED') throw failure;
      this.env.log.warn({ ostId: member.ostId, reason: failure.message }, 'an OST cannot be attached');
    }
  }

  private async finding(member: Member): Promise<OpenFinding> {
    const regions = new RegionSet(this.state.regionsPerChunk);
    let listed = true;
    if (member.attached && !this.opened.wasClean) {
      try {
        await listRegions(member, this.opened.object.lastSeal + 1, regions);
      } catch {
        // What is known of it is not whole: it counts as away, also while its session is still ending.
        listed = false;
        member.end(false);
      }
    }
    this.newer.set(member, regions);
    return {
      ostId: member.ostId,
      reachable: member.attached && listed,
      recordedBootId: member.recordedBootId,
      bootId: member.bootId,
      hasNewer: regions.size > 0,
      older: member.older,
      storedEpoch: member.storedEpoch,
    };
  }

  /** Of what was put back from an older copy no seal tells up to where it is like the others. */
  private async listAll(): Promise<void> {
    for (const member of this.state.inSyncMembers()) await listRegions(member, 0, this.newer.get(member)!);
  }

  /**
   * The compare-and-swap that makes the decision true, then every member keeps the set.
   * @param unsure some chunk is on suspects only
   */
  private async record(decision: OpenDecision, unsure: boolean): Promise<void> {
    const { state } = this;
    const bootIds = new Map<string, BootId>();
    const rebuilt = this.opened.rebuiltFrom !== null;
    let changed = rebuilt || decision.loss || decision.drop.size > 0;
    for (const member of state.inSyncMembers()) {
      if (decision.drop.has(member.ostId) || member.bootId === null) continue;
      bootIds.set(member.ostId, member.bootId);
      if (!sameBootId(member.recordedBootId, member.bootId)) changed = true;
    }
    if (!changed) return;
    const members = changedMembers(this.records, { drop: decision.drop, bootIds });
    await new SetRecorder(state, this.mds).changeMembers(members, decision.loss);
    this.recorded = true;
    // All of it has to be kept anew: what OSTs have is of before the rebuild.
    if (this.othersKnown) state.recordEpoch = state.epoch;
    for (const member of state.members) {
      const bootId = bootIds.get(member.ostId);
      if (bootId !== undefined) {
        // Of suspects that stay for the chunks that nobody else holds the others' chunks are not to be read (I7).
        if (unsure && (member.older || !sameBootId(member.recordedBootId, bootId))) member.behind = true;
        member.recordedBootId = bootId;
        member.trusted();
      }
      const now = state.object.members.find((one) => one.ostId === member.ostId);
      if (now?.state === 'in-sync') continue;
      member.dropped(now?.staleSince ?? 0);
      member.end(false);
    }
    // Stored on each survivor before anything is acknowledged; membership tries again where one fails here.
    state.acksHeld = true;
  }

  /** Regions newer than the last seal on any member can differ: each is reconciled before it is touched. */
  private findUnreconciled(): void {
    const { state } = this;
    const inSync = state.inSyncMembers();
    const nowMs = this.env.clock.nowMs();
    state.unsealed.any = true;
    state.unsealed.sinceMs = nowMs;
    for (const member of inSync) {
      for (const [chunk, region] of this.newer.get(member) ?? []) {
        const start = (chunk * state.regionsPerChunk + region) * state.regionSizeBytes;
        state.unsealed.note(start, start + state.regionSizeBytes, nowMs);
        if (inSync.length > 1) state.unreconciled.add(chunk, region);
      }
    }
    keepShared(state, state.unreconciled);
  }

  private onlyForWriting(): RawstorError {
    const where = `volume ${this.opened.object.name}`;
    return new RawstorError('NOT_SUPPORTED', 'volumes are opened for writing only', { where });
  }
}
