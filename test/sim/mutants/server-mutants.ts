import type { Mutant } from './mutant.js';

/** Rules of OSTs and of the MDS. */
export const SERVER_MUTANTS: readonly Mutant[] = [
  {
    name: 'I2 intent not durable',
    edits: [
      {
        file: 'ost/intents.ts',
        from: '    this.commit(changes).then(\n',
        to: '    this.commit(changes).catch(() => {});\n    Promise.resolve().then(\n',
      },
    ],
  },
  {
    name: 'I3 copy without session',
    edits: [
      {
        file: 'ost/copy.ts',
        from: '    const done = await finished(write, () => this.core.submit(write, session.holder));\n',
        to: `    const present = session.object.writer ?? session;
    write.handle = present.handle;
    write.sessionEpoch = present.epoch;
    write.sessionNumber = present.number;
    const done = await finished(write, () => this.core.submit(write, present.holder));
`,
      },
    ],
  },
  {
    name: 'I4 writes unfenced',
    edits: unfenced('op.opcode === Opcode.READ'),
  },
  {
    name: 'I4 reads unfenced',
    edits: unfenced('op.opcode !== Opcode.READ'),
  },
  {
    name: 'I4 fence not persisted',
    edits: [
      {
        file: 'ost/attaching.ts',
        from: '    await this.core.commit([fenceChange(record.id, next), objectChange(kept)]);\n',
        to: '    if (fence === null) await this.core.commit([fenceChange(record.id, next), objectChange(kept)]);\n    else await this.core.commit([objectChange(kept)]);\n',
      },
    ],
  },
  {
    name: 'I4 attach does not wait for what is in flight',
    edits: [{ file: 'ost/attaching.ts', from: '    await drained;\n', to: '    drained.catch(() => {});\n' }],
  },
  {
    name: 'I4 session number',
    edits: [
      {
        file: 'ost/core.ts',
        from: 'return session.epoch < before || !session.readOnly;',
        to: 'return session.epoch < before;',
      },
    ],
  },
  {
    name: 'I5 compare-and-swap unchecked',
    edits: [
      {
        file: 'mds/in-sync-sets.ts',
        from: '  checkCurrent(stored, swap.sessionEpoch);\n  if (stored.object.epoch === swap.expectedEpoch) return;\n',
        to: '  if (stored.object.epoch >= swap.expectedEpoch) return;\n',
      },
    ],
  },
  {
    name: 'I6 an answer that was lost is not given again',
    edits: [
      {
        file: 'mds/in-sync-sets.ts',
        from: '(a) => a.requestId === swap.requestId && ',
        to: "(a) => a.requestId === '' && ",
      },
    ],
  },
  {
    name: 'a wrong checksum is not noticed',
    edits: [
      {
        file: 'ost/checksums/checksums.ts',
        from: '    return this.suspects.length === 0;\n',
        to: '    return this.suspects.length >= 0;\n',
      },
    ],
  },
  {
    name: 'readEio: what a disk cannot read is not damage',
    edits: [
      {
        file: 'ost/checksums/damage.ts',
        from: '    const isNew = !this.isBad(chunk, block);\n    if (isNew) {\n',
        to: '    const isNew = !this.isBad(chunk, block);\n    if (isNew) return;\n    if (isNew) {\n',
      },
    ],
  },
  {
    name: 'I8 a file system that was mounted anew is taken for the same',
    edits: [
      {
        file: 'ost/boot.ts',
        from: '(mount !== undefined && mount !== place.mount)',
        to: 'mount === null',
      },
    ],
  },
  {
    name: 'I10 failed fsync forgotten',
    edits: [
      {
        file: 'ost/chunk-file.ts',
        from: '      this.onSyncFailed(this.chunk, result);\n',
        to: '      if (result > 0) this.onSyncFailed(this.chunk, result);\n',
      },
    ],
  },
];

/** Sessions that have ended are still served what is not `refused`. */
function unfenced(refused: string): Mutant['edits'] {
  return [
    { file: 'ost/core.ts', from: '    this.sessions.delete(session.handle);\n', to: '' },
    { file: 'ost/session.ts', from: '    this.holder.sessions.delete(this);\n', to: '' },
    {
      file: 'ost/judge.ts',
      from: 'if (session.ended !== 0) return',
      to: `if (session.ended !== 0 && (op.opcode === Opcode.PING || ${refused})) return`,
    },
    {
      file: 'ost/operation.ts',
      from: '    const { ended } = this.session!;\n    if (ended !== 0) return this.core.later(this, ended);\n    if (!chunk.ready)',
      to: `    const { ended } = this.session!;\n    if (ended !== 0 && ${refused}) return this.core.later(this, ended);\n    if (!chunk.ready)`,
    },
    {
      file: 'ost/operation.ts',
      from: 'op.status = status === 0 ? session.ended : status;',
      to: `op.status = status === 0 && ${refused} ? session.ended : status;`,
    },
  ];
}
