import type { RecoveryProgress } from '../../protocol/object-info.js';
import { mergeable } from '../../protocol/version-messages.js';
import type { VolumeState } from '../volume-state.js';
import type { DamagedPlace, Repair } from './repair.js';
import type { Resync } from './resync.js';

const DAMAGED_TOLD = 64;

export interface MemberStatus {
  readonly ostId: string;
  readonly state: 'in-sync' | 'resyncing' | 'stale';
  readonly attached: boolean;
  readonly regionsTotal: number;
  readonly regionsDone: number;
  readonly copiedBytes: number;
  /** Why it is not in sync yet, as the last try to bring it there said. */
  readonly waitsFor: string;
}

export interface VolumeStatus {
  readonly epoch: number;
  readonly unreconciledRegions: number;
  readonly unsealedBytes: number;
  readonly members: readonly MemberStatus[];
  /** Which OST's place another is to take. */
  readonly move: { readonly from: string | null; readonly to: string } | null;
  /** Copies wait for the rate that they may have. */
  readonly throttled: boolean;
  /** Every replica is where it is to be, in sync and the same, and nothing is left of what was moved or removed. */
  readonly recovered: boolean;
  /** Blocks with a wrong checksum on some replica that were repaired from another, since the open. */
  readonly repairedBlocks: number;
  /** Those that no other replica could give, some of them by their places. */
  readonly damagedBlocks: number;
  readonly damaged: readonly DamagedPlace[];
}

export function volumeStatus(state: VolumeState, resync: Resync, repair: Repair): VolumeStatus {
  const members = state.members.map((member): MemberStatus => {
    const progress = resync.progress(member);
    return {
      ostId: member.ostId,
      state: member.inSync ? 'in-sync' : member.receiving ? 'resyncing' : 'stale',
      attached: member.attached,
      regionsTotal: progress?.regionsTotal ?? 0,
      regionsDone: progress?.regionsDone ?? 0,
      copiedBytes: member.copiedBytes,
      waitsFor: resync.waitsFor(member),
    };
  });
  const damaged = repair.damaged();
  const { epoch, unreconciled, unsealed, move, left, acksHeld } = state;
  const inSync = members.every((member) => member.state === 'in-sync');
  const settled = move === null && left.length === 0 && !acksHeld && mergeable(state.object).length === 0;
  return {
    epoch,
    unreconciledRegions: unreconciled.size,
    unsealedBytes: unsealed.bytes,
    members,
    move: move === null ? null : { from: move.wanted.from, to: move.wanted.to },
    recovered: inSync && unreconciled.size === 0 && settled,
    throttled: state.env.throttle?.waits === true && members.some(isResyncing),
    repairedBlocks: repair.repairedBlocks,
    damagedBlocks: damaged.length,
    damaged: damaged.slice(0, DAMAGED_TOLD),
  };
}

const isResyncing = ({ state }: MemberStatus) => state === 'resyncing';

/** What is being copied: for the MDS, and whoever asks it. */
export function recoveryProgress({ members }: VolumeStatus): RecoveryProgress[] {
  return members
    .filter(isResyncing)
    .slice(0, 64)
    .map(({ ostId, regionsTotal, regionsDone, copiedBytes }) => ({
      ostId,
      regionsTotal,
      regionsDone,
      copiedBytes,
    }));
}
