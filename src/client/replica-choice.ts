import type { Member } from './member.js';
import type { Piece } from './records.js';

/**
 * The member to read a piece from: in this process, else on this host, else by turns. Never one that has
 * failed the piece or is not in sync; null when there is none now.
 */
export function chooseReplica(piece: Piece, turn: number, host: string): Member | null {
  const { placement } = piece;
  const count = placement.length;
  let best: Member | null = null;
  const start = turn % count;
  for (let i = 0; i < count; i++) {
    const member = placement[(start + i) % count]!;
    if (!mayServe(member, placement) || (piece.tried.length > 0 && piece.tried.includes(member))) continue;
    if (member.peer!.local) return member;
    const near = host !== '' && member.labels.host === host;
    if (near) best = member;
    else best ??= member;
  }
  return best;
}

/** Nobody else in sync has newer contents of the chunk, as far as is known (I7). */
export function mayServe(member: Member, placement: readonly Member[]): boolean {
  return member.readable && (!member.behind || !placement.some((other) => other.inSync && !other.behind));
}

/** I1: a set below `minReplicas` acknowledges nothing. */
export function enoughInSync(placement: readonly Member[], minReplicas: number): boolean {
  let count = 0;
  for (const member of placement) if (member.inSync) count++;
  return count >= minReplicas;
}
