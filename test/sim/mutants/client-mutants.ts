import type { Mutant } from './mutant.js';

/** Rules that the client keeps while it serves. */
export const CLIENT_MUTANTS: readonly Mutant[] = [
  {
    name: 'I1 any one answer acknowledges',
    edits: [
      {
        file: 'client/io-path.ts',
        from: '    if (--piece.unsettled === 0) this.settle(piece);\n  }',
        to: `    piece.unsettled--;
    if (op.state === ReplicaState.OK && piece.request !== null && changesData(piece)) {
      piece.unsettled = 0;
      this.settle(piece);
    } else if (piece.unsettled === 0) this.settle(piece);
  }`,
      },
      { file: 'client/io-path.ts', from: '    this.free.push(piece);\n', to: '' },
    ],
  },
  {
    name: 'I1 union during a compare-and-swap',
    edits: [
      {
        file: 'client/join.ts',
        from: '  const gone = await lost.answered(',
        to: '  member.counts = false;\n  const gone = await lost.answered(',
      },
    ],
  },
  {
    name: 'I1 acknowledged by fewer than the volume asks for',
    edits: [
      {
        file: 'client/replica-choice.ts',
        from: '  return count >= minReplicas;\n',
        to: '  return count >= Math.min(1, minReplicas);\n',
      },
    ],
  },
  {
    name: 'I3 range lock for writes',
    edits: [
      {
        file: 'client/range-locks.ts',
        from: '    for (let i = 0; i < count; i++) {\n      if (this.starts',
        to: `    for (let i = 0; i < count; i++) {
      if (lockExclusive && this.exclusive[i] === 1 && 'block' in holder && 'block' in this.holders[i]!) continue;
      if (this.starts`,
      },
    ],
  },
  {
    name: 'I3 lock for copies',
    edits: [
      {
        file: 'client/recovery/copy.ts',
        from: '  if (!state.locks.acquire(holder)) await wait;\n',
        to: '  if (holder.lockSlot >= 0) await wait;\n',
      },
      { file: 'client/recovery/copy.ts', from: '    state.locks.release(holder);\n', to: '' },
    ],
  },
  {
    name: 'I3 shared lock for reads',
    edits: [
      {
        file: 'client/range-locks.ts',
        from: '(lockExclusive || this.exclusive[i] === 1)',
        to: '(lockExclusive && this.exclusive[i] === 1)',
      },
      {
        file: 'client/range-locks.ts',
        from: '(holder.lockExclusive || other.lockExclusive)',
        to: '(holder.lockExclusive && other.lockExclusive)',
      },
    ],
  },
  {
    name: 'I6 acknowledged before the drop is recorded',
    edits: [
      {
        file: 'client/membership.ts',
        from: '    await this.change(changedMembers(state.object.members, { drop: ids }), false);\n',
        to: `    for (const member of leaving) {
      member.inSync = false;
      this.path.giveUp(member);
    }
    this.path.review();
    await this.change(changedMembers(state.object.members, { drop: ids }), false);
`,
      },
    ],
  },
  {
    name: 'I6 the set is not stored on survivors',
    edits: [
      {
        file: 'client/membership.ts',
        from: '    if (await this.recorder.storeSet()) this.releaseAcks();\n    // Those whose',
        to: '    this.releaseAcks();\n    // Those whose',
      },
    ],
  },
  {
    name: 'stale since the present epoch',
    edits: [
      {
        file: 'client/membership.ts',
        from: '    const since = state.object.lastSeal + 1;\n',
        to: '    const since = state.object.epoch;\n',
      },
      {
        file: 'client/set-recorder.ts',
        from: '    const since = object.lastSeal + 1;\n',
        to: '    const since = object.epoch;\n',
      },
      {
        file: 'mds/next-members.ts',
        from: '  const members = object.members.map((was) => nextMember(was, wished.get(was.ostId), lastSeal, loss));',
        to: '  const members = object.members.map((was) => nextMember(was, wished.get(was.ostId), object.epoch - 1, loss));',
      },
    ],
  },
  {
    name: 'seal while writes flow',
    edits: [
      {
        file: 'client/sealing.ts',
        from: '    await wait(writes.drained());\n',
        to: '',
      },
    ],
  },
  {
    name: 'seal without flush',
    edits: [
      {
        file: 'client/sealing.ts',
        from: '      await wait(this.flusher.flush());\n      marked',
        to: '      marked',
      },
      {
        file: 'client/sealing.ts',
        from: '    await wait(flusher.flush());\n    // A write',
        to: '    // A write',
      },
    ],
  },
  {
    name: 'I8 loss told by nobody but who recorded it',
    edits: [
      {
        file: 'client/open.ts',
        from: 'decision.loss || (opened.lossUntold && options.yields !== true)',
        to: 'decision.loss',
      },
    ],
  },
  {
    name: 'I8 boot id ignored',
    edits: [
      {
        file: 'client/member.ts',
        from: 'this.recordedBootId !== null && !sameBootId(this.recordedBootId, answer.bootId);',
        to: 'false;',
      },
    ],
  },
  {
    name: 'I8 loss mark forgotten',
    edits: [
      {
        file: 'client/accept-loss.ts',
        from: '  const lost = members.some((one) => one.dirty || one.older || flusher.awaits(one));\n',
        to: '  const lost = members.length < 0 && flusher.awaits(members[0]!);\n',
      },
    ],
  },
  {
    name: 'I8 loss told to nobody',
    edits: [{ file: 'client/accept-loss.ts', from: '    state.noteLoss();\n', to: '' }],
  },
  {
    name: 'I8 a read from before a loss delivered after it',
    edits: [
      {
        file: 'client/piece-outcome.ts',
        from: '  !member!.inSync || member!.losses !== losses;',
        to: '  !member!.inSync || losses < 0;',
      },
    ],
  },
  {
    name: 'I8 what a loss left behind is not made alike',
    edits: [
      {
        file: 'client/accept-loss.ts',
        from: '  for (const [chunk, region] of differing) state.unreconciled.add(chunk, region);\n',
        to: '',
      },
    ],
  },
  {
    name: 'I10 flush on one member',
    edits: [
      {
        file: 'client/io-path.ts',
        from: '      if (isFlush && !member.emptied) member.dirty = false;\n',
        to: `      if (isFlush && !member.emptied) member.dirty = false;
      if (isFlush && piece.opCount > 0) continue;
`,
      },
    ],
  },
  {
    name: 'I14 check off',
    edits: [
      {
        file: 'client/io-path.ts',
        from: '    if (acksHeld || !this.confirmed(piece.placement)) return this.hold(piece);',
        to: '    if (acksHeld || (piece.held && !this.confirmed(piece.placement))) return this.hold(piece);',
      },
    ],
  },
];
