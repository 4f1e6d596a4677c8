import type { Mutant } from './mutant.js';

const MOVES = { handOvers: true } as const;

/** Rules of handing over: a volume goes with its guest, and nobody takes it from one that runs. */
export const HAND_OVER_MUTANTS: readonly Mutant[] = [
  {
    name: 'hand-over: who stands by reads and does not look again',
    ...MOVES,
    edits: [
      {
        file: 'client/hand-over/standby-reader.ts',
        from: 'if ((await this.look()).epoch === epoch) return;',
        to: 'if (epoch >= 0) return;',
      },
    ],
  },
  {
    name: 'hand-over: who stands by reads from a member that has lost writes',
    ...MOVES,
    edits: [
      {
        file: 'client/hand-over/standby-reader.ts',
        from: 'if (!this.object.clean && !sameBootId(recorded, bootId)) {',
        to: 'if (!this.object.clean && recorded !== null && bootId === undefined) {',
      },
    ],
  },
  {
    name: 'hand-over: asked for, it is taken',
    ...MOVES,
    edits: [
      {
        file: 'mds/mds.ts',
        from: 'this.leases.isHeld(stored)) && !params.force) {',
        to: 'this.leases.isHeld(stored)) && !params.force && params.handOver !== true) {',
      },
    ],
  },
  {
    name: 'hand-over: a read takes it from a writer that is cut off from the MDS',
    ...MOVES,
    edits: [
      {
        file: 'client/hand-over/standby-reader.ts',
        from: 'if (this.closed || clock.nowMs() > untilMs) throw failure;',
        to: "if (this.closed || clock.nowMs() > untilMs || failure.message.startsWith('its last')) throw failure;",
      },
    ],
  },
  {
    name: 'hand-over: who begins to stand by takes it from a writer that is cut off from the MDS',
    ...MOVES,
    edits: [
      {
        file: 'mds/open-checks.ts',
        from: 'const leavesAlone = yields === true || ifClosed === true;',
        to: 'const leavesAlone = yields === true;',
      },
    ],
  },
  {
    name: 'hand-over: what waited for a front-end that is gone is carried out later',
    ...MOVES,
    edits: [
      {
        file: 'client/hand-over/movable-volume.ts',
        from: '    this.waiting.finish(this.late, frontEndWent(this.reader.object.name), gone);\n',
        to: `    for (const { block, below } of this.waiting.take(gone)) {
      this.late.finish(block, frontEndWent(this.reader.object.name));
      this.waiting.add(block, below);
    }
`,
      },
    ],
  },
];
