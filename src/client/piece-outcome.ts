import type { RawstorError } from '../common/errors.js';
import {
  errorOfStatus,
  STATUS_CHECKSUM,
  STATUS_CONNECTION_LOST,
  STATUS_FENCED,
  STATUS_STALE_SESSION,
} from '../protocol/control.js';
import { Opcode } from '../protocol/frame.js';
import type { Member } from './member.js';
import { type Piece, type ReplicaOp, ReplicaState } from './records.js';

/** What the answers to a piece say together. */

export interface FailedMembers {
  readonly members: Member[];
  /** Counted when they failed and do not any more: their join was given up. */
  readonly joining: ReplicaOp[];
  /** Wire status of the last of them. */
  readonly status: number;
  /** Another required member has the whole of it. */
  readonly someOk: boolean;
}

/** Members that have answered with an error of their own, each while it was required; null when there are none. */
export function failedMembers(piece: Piece): FailedMembers | null {
  let members: Member[] | null = null;
  let joining: ReplicaOp[] | null = null;
  let someOk = false;
  let status = 0;
  for (let i = 0; i < piece.opCount; i++) {
    const op = piece.ops[i]!;
    if (!op.member!.required) {
      if (op.state === ReplicaState.FAILED) (joining ??= []).push(op);
    } else if (op.state === ReplicaState.FAILED) {
      members ??= [];
      members.push(op.member!);
      status = op.status;
    } else if (op.state === ReplicaState.OK) someOk = true;
  }
  if (members === null && joining === null) return null;
  return { members: members ?? [], joining: joining ?? [], status, someOk };
}

/** Nobody waits for those any more. Who still gets writes under the session in which it failed one would join without that (I9). */
export function dropJoining(
  failed: readonly ReplicaOp[],
  owner: { resyncFailed(member: Member, error: RawstorError): void },
): void {
  for (const op of failed) {
    const member = op.member!;
    op.state = ReplicaState.DROPPED;
    // Attached anew since, it has the region in its list.
    if (!member.receiving || member.sessionNumber !== op.sessionNumber) continue;
    owner.resyncFailed(member, errorOfStatus(op.status, member.ostId));
  }
}

/** The session is not served any more, which says nothing about the data. */
export function isSessionLoss(status: number): boolean {
  return status === STATUS_CONNECTION_LOST || status === STATUS_FENCED || status === STATUS_STALE_SESSION;
}

export function changesData(piece: Piece): boolean {
  return piece.opcode !== Opcode.READ && piece.opcode !== Opcode.FLUSH;
}

/** It came back without what was not flushed, and that is not on record yet. */
export const isEmptied = (member: Member): boolean => member.required && member.emptied;

/**
 * A read has failed on this member: null while it or another may have what it wants, else the error, with the damaged
 * block. A lost session says nothing about the data: the member may answer the next time.
 */
export function failedRead(piece: Piece, op: ReplicaOp, member: Member): RawstorError | null {
  if (isSessionLoss(op.status)) return null;
  const isDamage = op.status === STATUS_CHECKSUM;
  if (isDamage) member.onDamaged();
  piece.tried.push(member);
  if (piece.placement.some((other) => other.inSync && !piece.tried.includes(other))) return null;
  const where = `chunk ${piece.chunk} at ${isDamage ? op.tag : piece.offset} on OST ${member.ostId}`;
  return errorOfStatus(op.status, where);
}

/** A read's member left the set since it answered, or lost what it had read (I8): the next read would go back behind this one. */
export const isOutdated = ({ member, losses }: ReplicaOp): boolean =>
  !member!.inSync || member!.losses !== losses;
