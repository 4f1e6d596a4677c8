import type { Mutant } from './mutant.js';

const SNAPSHOTS = { snapshots: true } as const;

/** Rules of snapshots, rollback, clones and sizes, and of the collection of what is nobody's. */
export const VERSION_MUTANTS: readonly Mutant[] = [
  {
    name: 'I11 a snapshot while writes are on their way',
    ...SNAPSHOTS,
    edits: [
      {
        file: 'client/live-snapshot.ts',
        from: 'flusher: this.flusher, writes: this.requests.writes };',
        to: 'flusher: this.flusher, writes: { drained: async () => {} } as never };',
      },
    ],
  },
  {
    name: 'I11 a snapshot that is not durable',
    ...SNAPSHOTS,
    edits: [
      {
        file: 'client/live-snapshot.ts',
        from: 'flusher: this.flusher, writes: this.requests.writes };',
        to: 'flusher: { flush: async () => {} } as never, writes: this.requests.writes };',
      },
    ],
  },
  {
    name: 'I11 a write that is sent again goes to another version',
    ...SNAPSHOTS,
    edits: [
      {
        file: 'client/io-path.ts',
        from: '    op.tag = this.state.tag;\n',
        to: '    op.tag = this.state.tag;\n    if (op.opcode !== Opcode.READ) op.chunkVersion = this.state.writeVersion;\n',
      },
    ],
  },
  {
    name: 'I11 a cut before every replica knows the new head',
    ...SNAPSHOTS,
    edits: [
      {
        file: 'client/live-snapshot.ts',
        from: '    if (state.recordToStore) await steps.storeAhead();\n    if (state.recordToStore) throw',
        to: '    if (state.fatal !== null) throw',
      },
    ],
  },
  {
    name: 'I11 a snapshot is left pending by a session that ended',
    ...SNAPSHOTS,
    edits: [
      {
        file: 'mds/open-checks.ts',
        from: 'object: { ...object, ...abandoned(object), epoch } };',
        to: 'object: { ...object, epoch } };',
      },
    ],
  },
  {
    name: 'I12 zeros of a version are not on record',
    ...SNAPSHOTS,
    edits: [
      {
        file: 'ost/layers/zero-log.ts',
        from: '      if (setBits(bits, first, last, on)) {\n',
        to: '      if (!on && setBits(bits, first, last, on)) {\n',
      },
    ],
  },
  {
    name: 'a rollback leaves the head over what it was',
    ...SNAPSHOTS,
    edits: [
      {
        file: 'mds/version-tree.ts',
        from: 'headOver: to.version',
        to: 'headOver: object.headVersion',
      },
    ],
  },
  {
    name: 'a clone trusts copies of its parent that are not in sync',
    ...SNAPSHOTS,
    edits: [
      {
        file: 'mds/clone.ts',
        from: "parent.members.filter((member) => member.state === 'in-sync').map(",
        to: 'parent.members.map(',
      },
    ],
  },
  {
    name: 'a snapshot is removed although a clone lies over it',
    ...SNAPSHOTS,
    edits: [
      {
        file: 'mds/version-tree.ts',
        from: '  if (clones.length > 0) {\n    const some',
        to: '  if (clones.length > 1e9) {\n    const some',
      },
    ],
  },
  {
    name: 'what a smaller size cuts off is not erased',
    ...SNAPSHOTS,
    edits: [
      {
        file: 'client/version-change.ts',
        from: '    await this.erase(sizeBytes, tailBytes, steps);\n',
        to: '    await steps.wait(Promise.resolve(sizeBytes + tailBytes));\n',
      },
    ],
  },
  {
    name: 'a resync ends at the end of the head',
    ...SNAPSHOTS,
    edits: [
      {
        file: 'client/recovery/resync.ts',
        from: '    const range = regionRange(state, chunk, region);\n',
        to: '    const range = regionRange(state, chunk, region);\n    if (range.start >= state.object.sizeBytes) return;\n',
      },
    ],
  },
  {
    name: 'the collector takes what the MDS does not know',
    ...SNAPSHOTS,
    edits: [
      {
        file: 'ost/collector.ts',
        from: "    for (const kind of ['removed', 'left', 'unknown'] as const) {\n",
        to: "    for (const id of answer.unknown) await this.core.removal.remove(id);\n    for (const kind of ['removed', 'left', 'unknown'] as const) {\n",
      },
    ],
  },
  {
    name: 'the collector takes the copy of a member that is away from the set',
    ...SNAPSHOTS,
    edits: [
      {
        file: 'mds/collect.ts',
        from: '    if (everywhere(stored).includes(ostId) || ',
        to: "    if (\n      (everywhere(stored).includes(ostId) &&\n        !stored.object.members.some((one) => one.ostId === ostId && one.state === 'stale')) ||\n      ",
      },
    ],
  },
  {
    name: 'the collector takes versions that are still to be merged',
    ...SNAPSHOTS,
    edits: [
      {
        file: 'ost/layers/strays.ts',
        from: '!hasVersion(record, version)',
        to: '!record.snapshots.some((one) => one.version === version && one.name !== null)',
      },
    ],
  },
  {
    name: 'a flattened clone goes on showing what lies below, where it is open',
    ...SNAPSHOTS,
    edits: [
      {
        file: 'ost/object.ts',
        from: '    if (parts) this.owner.parted();\n',
        to: '',
      },
    ],
  },
  {
    name: 'OSTs merge by a record that a lost MDS may have taken along',
    ...SNAPSHOTS,
    edits: [
      {
        file: 'ost/layers/merger.ts',
        from: 'const asked = nameless.filter((version) => this.asked.get(id)?.has(version));',
        to: 'const asked = nameless;',
      },
    ],
  },
  {
    name: 'a merge is asked for before the MDS has confirmed the record',
    ...SNAPSHOTS,
    edits: [
      {
        file: 'client/forgetting.ts',
        from: '    if (!(await this.confirmed())) return;\n',
        to: '',
      },
    ],
  },
  {
    name: 'who looks after a volume takes it from a writer that is cut off from the MDS',
    ...SNAPSHOTS,
    edits: [
      {
        file: 'mds/open-checks.ts',
        from: 'const leavesAlone = yields === true || ifClosed === true;',
        to: 'const leavesAlone = ifClosed === true;',
      },
    ],
  },
  {
    name: 'who looks after a volume does not ask OSTs for its writer',
    ...SNAPSHOTS,
    edits: [
      {
        file: 'client/unless-written.ts',
        from: 'if (!(await awaitWriter(env, look))) return object.sessionEpoch;',
        to: 'if (true as boolean) return object.sessionEpoch;',
      },
    ],
  },
];
