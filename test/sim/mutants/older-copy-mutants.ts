import type { Mutant } from './mutant.js';

const COPIES = { olderCopies: true } as const;

/** Planted bugs of what tells an OST that was put back from an older copy, and of what it gets then. */
export const OLDER_COPY_MUTANTS: readonly Mutant[] = [
  {
    name: 'older copy: taken for what it was',
    ...COPIES,
    edits: [
      {
        file: 'client/member.ts',
        from: 'if (epoch < this.storedEpoch) this.older = true;',
        to: 'if (epoch < 0) this.older = true;',
      },
    ],
  },
  {
    name: 'older copy: gets only what is newer than the last seal',
    ...COPIES,
    edits: [
      {
        file: 'client/member.ts',
        from: 'this.staleSince = this.older ? 0 : sinceEpoch;',
        to: 'this.staleSince = sinceEpoch;',
      },
      {
        file: 'client/member.ts',
        from: 'if (this.older && !this.inSync) this.staleSince = 0;',
        to: '',
      },
    ],
  },
  {
    name: 'older copy: the MDS forgets that all of it differs',
    ...COPIES,
    edits: [
      {
        file: 'mds/next-members.ts',
        from: 'staleSince: hasForgotten(was, keptEpoch) ? 0 : since, ...kept };',
        to: 'staleSince: since, ...kept };',
      },
    ],
  },
  {
    name: 'older copy: a clone reads it as what it lies over',
    snapshots: true,
    ...COPIES,
    edits: [
      {
        file: 'ost/layers/shared-parent.ts',
        from: 'if (!sharesParent(brought, ostId) || hasParent(records, brought, ostId)) return brought;',
        to: 'if (!sharesParent(brought, ostId) || brought.epoch >= 0) return brought;',
      },
      {
        file: 'ost/core.ts',
        from: 'if (hasVersion(lower.record, parent.version)) return',
        to: 'if (lower.record.epoch >= 0) return',
      },
    ],
  },
  {
    name: 'older copy: keeps the next set before it is dropped',
    ...COPIES,
    edits: [
      {
        file: 'client/set-recorder.ts',
        from: '        if (member.older) return this.tellHead(member);\n',
        to: '',
      },
    ],
  },
  {
    name: 'older copy: a seal takes its word before it is dropped',
    ...COPIES,
    edits: [
      {
        file: 'mds/next-members.ts',
        from: "const keptEpoch = was.state === 'in-sync' ? laterOf(was, wish) : (wish?.keptEpoch ?? was.keptEpoch);",
        to: 'const keptEpoch = wish?.keptEpoch ?? was.keptEpoch;',
      },
    ],
  },
];
