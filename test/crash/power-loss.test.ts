import { afterEach, describe, expect, it } from 'vitest';
import { MutatedBuild } from '../fixtures/mutated-build.js';
import { canMakeNamespaces } from '../interop/namespaces/hosts.js';
import type { Mutant } from '../sim/mutants/mutant.js';
import {
  olderWriterWakes,
  powerFailsAfterFlush,
  powerFailsEverywhere,
  powerFailsOnOne,
} from './scenarios.js';

/** Rules that only real disks can break: on real LMDB, over real file systems that lose their power. */

const MINUTES = 60_000;

interface Case {
  scenario: (root?: string) => Promise<void>;
  mutants: (Mutant & { shows: RegExp })[];
}

const CASES: Record<string, Case> = {
  'the power fails everywhere, unflushed writes are on one replica only': {
    scenario: powerFailsEverywhere,
    mutants: [
      {
        name: 'I2 intent not durable: kept in memory',
        edits: [
          {
            file: 'ost/intents.ts',
            from: 'this.commit(changes).then(',
            to: 'Promise.resolve(changes).then(',
          },
        ],
        shows: /legal is what ended after|is not as|did not tell of it/,
      },
      {
        name: 'I2 intent not durable: committed, not synced',
        edits: [
          {
            file: 'ost/store-lmdb.ts',
            from: 'overlappingSync: false,',
            to: 'overlappingSync: false, noSync: true,',
          },
        ],
        shows: /legal is what ended after|is not as|did not tell of it/,
      },
    ],
  },
  'the power fails everywhere after a flush': {
    scenario: powerFailsAfterFlush,
    mutants: [
      {
        name: 'I10 flush that is none',
        edits: [
          {
            file: 'io/uring-file.ts',
            from: 'ring.fill(RingOp.FSYNC, this.fd, 0, 0, 0, abi.FSYNC_DATASYNC)',
            to: 'ring.fill(RingOp.NOP, -1, 0, 0, 0, 0)',
          },
        ],
        shows: /legal is what ended after/,
      },
    ],
  },
  'the power fails on one replica': {
    scenario: powerFailsOnOne,
    mutants: [
      {
        name: 'I8 boot id ignored',
        edits: [
          {
            file: 'client/member.ts',
            from: 'this.recordedBootId !== null && !sameBootId(this.recordedBootId, answer.bootId)',
            to: 'false',
          },
        ],
        shows: /legal is what ended after|is not as/,
      },
    ],
  },
  'a writer that was replaced wakes up after the replicas were restarted': {
    scenario: olderWriterWakes,
    mutants: [
      {
        name: 'I4 fence not persisted',
        edits: [
          {
            file: 'ost/attaching.ts',
            from: '[fenceChange(record.id, next), objectChange(kept)]',
            to: '[objectChange(kept)]',
          },
        ],
        shows: /a (write|read) of a writer that was replaced/,
      },
    ],
  },
};

let build: MutatedBuild | null = null;

afterEach(() => {
  build?.remove();
  build = null;
});

describe.skipIf(!(await canMakeNamespaces()))('when', () => {
  describe.each(Object.entries(CASES))('%s', (_name, { scenario, mutants }) => {
    it('nothing is wrong', () => scenario(), 2 * MINUTES);

    it.each(mutants)(
      'it is seen that $name',
      async (mutant) => {
        build = new MutatedBuild(mutant);
        await expect(scenario(build.root)).rejects.toThrow(mutant.shows);
      },
      2 * MINUTES,
    );
  });
});

describe('the builder of mutants', () => {
  it.each(['no such text', 'import '])('refuses %j', (from) => {
    const mutant = { name: 'none', edits: [{ file: 'ost/core.ts', from, to: '' }] };
    expect(() => new MutatedBuild(mutant)).toThrow(/'none': \d+ places in src\/ost\/core.ts instead of one/);
  });
});
