/** Which copies to move so that OSTs are filled alike: pure arithmetic over what volumes take where. */

export interface BalanceOst {
  readonly ostId: string;
  readonly capacityBytes: number;
}

export interface BalanceVolume {
  readonly id: string;
  readonly name: string;
  /** What its copies take, by OST. */
  readonly bytesOn: ReadonlyMap<string, number>;
}

export interface BalanceMove {
  readonly id: string;
  readonly name: string;
  readonly from: string;
  readonly to: string;
  readonly bytes: number;
}

/** OSTs whose fullness differs by less than this part of the mean are left alone. */
const TOLERANCE = 0.1;

/**
 * Moves copies from the fullest to the emptiest, each once, as long as that brings the two nearer to each other.
 * @param mayMove whether the rules of placement allow it
 */
export function planBalance(
  osts: readonly BalanceOst[],
  volumes: readonly BalanceVolume[],
  mayMove: (volume: BalanceVolume, from: string, to: string) => boolean,
): BalanceMove[] {
  const used = new Map(osts.map(({ ostId }) => [ostId, 0]));
  for (const { bytesOn } of volumes) {
    for (const [ostId, bytes] of bytesOn) if (used.has(ostId)) used.set(ostId, used.get(ostId)! + bytes);
  }
  const full = ({ ostId, capacityBytes }: BalanceOst) => used.get(ostId)! / Math.max(1, capacityBytes);
  const mean = osts.reduce((sum, ost) => sum + full(ost), 0) / Math.max(1, osts.length);
  const moved = new Set<string>();
  const moves: BalanceMove[] = [];
  for (;;) {
    const order = [...osts].sort((a, b) => full(b) - full(a) || (a.ostId < b.ostId ? -1 : 1));
    const next = bestMove(order);
    if (next === null) return moves;
    moves.push(next);
    moved.add(next.id);
    used.set(next.from, used.get(next.from)! - next.bytes);
    used.set(next.to, used.get(next.to)! + next.bytes);
  }

  function bestMove(order: readonly BalanceOst[]): BalanceMove | null {
    for (const from of order) {
      for (const to of [...order].reverse()) {
        const gap = full(from) - full(to);
        if (gap <= TOLERANCE * mean) break;
        let best: BalanceMove | null = null;
        let bestGap = gap * (1 - TOLERANCE);
        for (const volume of volumes) {
          const bytes = volume.bytesOn.get(from.ostId) ?? 0;
          if (bytes === 0 || moved.has(volume.id) || !mayMove(volume, from.ostId, to.ostId)) continue;
          const after = Math.abs(gap - bytes / from.capacityBytes - bytes / to.capacityBytes);
          if (after >= bestGap) continue;
          bestGap = after;
          best = { id: volume.id, name: volume.name, from: from.ostId, to: to.ostId, bytes };
        }
        if (best !== null) return best;
      }
    }
    return null;
  }
}
