import type { ObjectInfo, Result } from '../../protocol/index.js';

/** What `rawstor top` shows, from two looks at a cluster: pure arithmetic. */

export type Traffic = Result<'ost.stat'>['traffic'];

/** One look. */
export interface Look {
  readonly atMs: number;
  /** By OST, of those that answered. */
  readonly traffic: ReadonlyMap<string, Traffic>;
  readonly volumes: readonly ObjectInfo[];
}

export interface OstRates {
  readsPerSecond: number;
  writesPerSecond: number;
  flushesPerSecond: number;
  readBytesPerSecond: number;
  writtenBytesPerSecond: number;
  inFlight: number;
}

export interface RecoveryRow {
  volume: string;
  /** Where the copies go. */
  ostId: string;
  regionsDone: number;
  regionsTotal: number;
  copiedBytes: number;
  copiedBytesPerSecond: number;
  /** At this rate; null where nothing was copied between the two looks. */
  secondsLeft: number | null;
}

/** Null for an OST that did not answer at both. */
export function ostRates(before: Look, after: Look, ostId: string): OstRates | null {
  const [from, to] = [before.traffic.get(ostId), after.traffic.get(ostId)];
  if (from === undefined || to === undefined) return null;
  const rate = (name: keyof Traffic) => perSecond(from[name], to[name], after.atMs - before.atMs);
  return {
    readsPerSecond: rate('reads'),
    writesPerSecond: rate('writes'),
    flushesPerSecond: rate('flushes'),
    readBytesPerSecond: rate('readBytes'),
    writtenBytesPerSecond: rate('writtenBytes'),
    inFlight: to.inFlight,
  };
}

export function recoveryRows(before: Look, after: Look): RecoveryRow[] {
  const earlier = new Map<string, ObjectInfo['recovery'][number]>();
  for (const { id, recovery } of before.volumes) {
    for (const progress of recovery) earlier.set(`${id} ${progress.ostId}`, progress);
  }
  const ms = after.atMs - before.atMs;
  return after.volumes.flatMap(({ id, name, recovery }) =>
    recovery.map((progress): RecoveryRow => {
      const from = earlier.get(`${id} ${progress.ostId}`);
      const regions = from === undefined ? 0 : perSecond(from.regionsDone, progress.regionsDone, ms);
      const left = progress.regionsTotal - progress.regionsDone;
      return {
        volume: name,
        ...progress,
        copiedBytesPerSecond: from === undefined ? 0 : perSecond(from.copiedBytes, progress.copiedBytes, ms),
        secondsLeft: regions > 0 ? left / regions : null,
      };
    }),
  );
}

/** A counter that went back began anew at 0: its server was started again, or the copy was. */
function perSecond(from: number, to: number, ms: number): number {
  return (to < from ? to : to - from) / (Math.max(1, ms) / 1000);
}
