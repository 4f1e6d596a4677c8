import { afterEach, describe, expect, it } from 'vitest';
import { MutatedBuild, type Mutation } from '../fixtures/mutated-build.js';
import { canMakeNamespaces } from '../interop/namespaces/hosts.js';
import { olderWriterWakes, powerFailsEverywhere, powerFailsOnOne } from './scenarios.js';

/** Rules that only real disks can break: on real LMDB, over real file systems that lose their power. */

const MINUTES = 60_000;

interface Case {
  scenario: (root?: string) => Promise<void>;
  mutations: (Mutation & { shows: RegExp })[];
}

const CASES: Record<string, Case> = {
  'the power fails everywhere, unflushed writes are on one replica only': {
    scenario: powerFailsEverywhere,
    mutations: [
      {
        rule: 'I2 intent not durable: kept in memory',
        file: 'src/ost/intents.ts',
        text: 'this.commit(changes).then(',
        replacement: 'Promise.resolve(changes).then(',
        shows: /legal is what ended after|is not as|did not tell of it/,
      },
      {
        rule: 'I2 intent not durable: committed, not synced',
        file: 'src/ost/store-lmdb.ts',
        text: 'overlappingSync: false,',
        replacement: 'overlappingSync: false, noSync: true,',
        shows: /legal is what ended after|is not as|did not tell of it/,
      },
      {
        rule: 'I10 flush that is none',
        file: 'src/io/uring-file.ts',
        text: 'ring.fill(RingOp.FSYNC, this.fd, 0, 0, 0, abi.FSYNC_DATASYNC)',
        replacement: 'ring.fill(RingOp.NOP, -1, 0, 0, 0, 0)',
        shows: /legal is what ended after/,
      },
    ],
  },
  'the power fails on one replica': {
    scenario: powerFailsOnOne,
    mutations: [
      {
        rule: 'I8 boot id ignored',
        file: 'src/client/member.ts',
        text: 'this.inSync && this.recordedBootId !== null && !sameBootId(this.recordedBootId, answer.bootId)',
        replacement: 'false',
        shows: /legal is what ended after|is not as/,
      },
    ],
  },
  'a writer that was replaced wakes up after the replicas were restarted': {
    scenario: olderWriterWakes,
    mutations: [
      {
        rule: 'I4 fence not persisted',
        file: 'src/ost/core.ts',
        text: '[fenceChange(record.id, next), objectChange(kept)]',
        replacement: '[objectChange(kept)]',
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
  describe.each(Object.entries(CASES))('%s', (_name, { scenario, mutations }) => {
    it('nothing is wrong', () => scenario(), 2 * MINUTES);

    it.each(mutations)(
      'it is seen that $rule',
      async (mutation) => {
        build = new MutatedBuild(mutation);
        await expect(scenario(build.root)).rejects.toThrow(mutation.shows);
      },
      2 * MINUTES,
    );
  });
});

describe('the builder of mutants', () => {
  it.each(['no such text', 'import '])('refuses %j', (text) => {
    const mutation = { rule: 'none', file: 'src/ost/core.ts', text, replacement: '' };
    expect(() => new MutatedBuild(mutation)).toThrow(/none: its text occurs \d+ times in src\/ost\/core.ts/);
  });
});
