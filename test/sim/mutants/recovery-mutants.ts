import type { Mutant } from './mutant.js';

/** Rules of opens, of reconciling and of resyncs. */
export const RECOVERY_MUTANTS: readonly Mutant[] = [
  {
    name: 'I7 reconcile skipped',
    edits: [{ file: 'client/open.ts', from: '      this.findUnreconciled();\n', to: '' }],
  },
  {
    name: 'I7 read before the copy',
    edits: [
      {
        file: 'client/request-queue.ts',
        from: '      unreconciled.size > 0 &&\n',
        to: '      unreconciled.size > 0 &&\n      request.lockExclusive &&\n',
      },
      {
        file: 'client/volume-state.ts',
        from: '    if (this.unreconciled.size === 0) return false;\n',
        to: '    if (this.unreconciled.size >= 0) return false;\n',
      },
    ],
  },
  {
    name: 'I7 suspect rule',
    edits: [
      {
        file: 'client/replica-set.ts',
        from: 'older || (anyNewer && recordedBootId',
        to: 'older || (bootId === null && recordedBootId',
      },
    ],
  },
  {
    name: 'I7 the last unsuspected member dropped',
    edits: [
      {
        file: 'client/replica-set.ts',
        from: '  if (unreachable.length > 0) {\n',
        to: '  if (unreachable.length > 0 && !canDrop(object, inSync, unreachableIds)) {\n',
      },
      {
        file: 'client/replica-set.ts',
        from: '    for (const id of unreachableIds) drop.add(id);\n  }\n',
        to: '  }\n  for (const id of unreachableIds) drop.add(id);\n',
      },
    ],
  },
  {
    name: 'I9 attach after the list',
    edits: [
      {
        file: 'client/recovery/resync.ts',
        from: '    member.receiving = true;\n    const stale = await staleRegions(state, member);\n',
        to: '    const stale = await staleRegions(state, member);\n    member.receiving = true;\n',
      },
    ],
  },
  {
    name: 'I9 union rule: regions that only the returning member knows',
    edits: [
      {
        file: 'client/recovery/stale-regions.ts',
        from: '    take(page.rows);\n',
        to: '',
      },
    ],
  },
  {
    name: 'I9 union rule: regions with a write in flight',
    edits: [
      {
        file: 'client/recovery/stale-regions.ts',
        from: '    for (const set of [regions, unsure, touched]) set.addRange(start, end, regionSizeBytes);\n',
        to: '    void start, end;\n',
      },
    ],
  },
  {
    name: 'I9 join flush not counted',
    edits: [
      {
        file: 'client/join.ts',
        from: '  member.counts = true;\n  member.dirty = false;\n',
        to: '',
      },
      {
        file: 'client/join.ts',
        from: '  const stillGood = flushed',
        to: '  member.counts = true;\n  member.dirty = false;\n  const stillGood = flushed',
      },
    ],
  },
  {
    name: 'I9 a join without its flush',
    edits: [
      {
        file: 'client/join.ts',
        from: '  const flushed = await unlessLost(flushMember(state, member)).catch(() => false);\n',
        to: '  const flushed = await unlessLost(Promise.resolve(true)).catch(() => false);\n',
      },
      {
        file: 'client/join.ts',
        from: "import { flushMember } from './flusher.js';\n",
        to: '',
      },
    ],
  },
  {
    name: 'I9 boot id of join time: a resync goes on over a new session',
    edits: [
      {
        file: 'client/recovery/resync.ts',
        from: '    const stale = await staleRegions(state, member);\n    const { regions } = stale;\n',
        to: `    const { regions: listed, unsure } = await staleRegions(state, member);
    const kept = this.copied.get(member) ?? new Set<string>();
    this.copied.set(member, kept);
    const regions = new RegionSet(state.regionsPerChunk);
    for (const [chunk, region] of listed) if (!kept.has([chunk, region].join('/'))) regions.add(chunk, region);
    const stale = { regions, unsure };
`,
      },
      {
        file: 'client/recovery/resync.ts',
        from: "import { type StaleRegions, staleRegions } from './stale-regions.js';\n",
        to: "import { RegionSet } from '../region-set.js';\nimport { type StaleRegions, staleRegions } from './stale-regions.js';\n",
      },
      {
        file: 'client/recovery/resync.ts',
        from: '        onDone();\n',
        to: "        onDone();\n        this.copied.get(member)!.add([chunk, region].join('/'));\n",
      },
      {
        file: 'client/recovery/resync.ts',
        from: '  private readonly active = new Map',
        to: '  private readonly copied = new Map<Member, Set<string>>();\n  private readonly active = new Map',
      },
      {
        file: 'client/recovery/resync.ts',
        from: '      if (await this.owner.join(member)) return true;\n',
        to: '      if (await this.owner.join(member)) return this.copied.delete(member);\n',
      },
    ],
  },
  {
    name: 'I9 a member that left while it joined goes on receiving',
    edits: [
      {
        file: 'client/join.ts',
        from: '    member.receiving = false;\n    path',
        to: '    path',
      },
    ],
  },
  {
    name: 'I14 wait off',
    edits: [
      {
        file: 'client/open.ts',
        from: '    if (waitedMs < this.env.confirmMs) await',
        to: '    if (waitedMs < 0) await',
      },
    ],
  },
  {
    name: 'I13 acknowledged after a move before its map is stored',
    edits: [
      {
        file: 'client/recovery/move.ts',
        from: '  const hold = () => {\n    state.acksHeld = true;\n  };\n',
        to: '  const hold = () => {};\n',
      },
    ],
  },
  {
    name: 'I9 the target of a move joins without its copies',
    edits: [
      {
        file: 'client/recovery/stale-regions.ts',
        from: '  for (const source of state.inSyncMembers()) {\n',
        to: '  for (const source of state.move === null ? state.inSyncMembers() : []) {\n',
      },
    ],
  },
];
