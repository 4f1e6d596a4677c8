/** What goes on in a history besides its faults. */
export interface HistoryKind {
  /** Snapshots are taken and removed all along. */
  readonly snapshots: boolean;
  /** With them: guests ask all along what has changed since one. */
  readonly asksChanged: boolean;
  /** Guests move from gateway to gateway all along. Not with snapshots. */
  readonly handOvers: boolean;
  /** OSTs are put back from older copies all along. */
  readonly olderCopies: boolean;
}

export const PLAIN: HistoryKind = {
  snapshots: false,
  asksChanged: false,
  handOvers: false,
  olderCopies: false,
};

const FLAGS: readonly [keyof HistoryKind, string][] = [
  ['snapshots', ' --snapshots'],
  ['asksChanged', ' --changed'],
  ['handOvers', ' --hand-overs'],
  ['olderCopies', ' --older-copies'],
];

/** As `npm run sim` is told of it. */
export function flagsOf(kind: Partial<HistoryKind>): string {
  return FLAGS.flatMap(([name, flag]) => (kind[name] === true ? [flag] : [])).join('');
}
