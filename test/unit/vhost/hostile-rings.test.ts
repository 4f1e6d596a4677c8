import fc from 'fast-check';
import { afterEach, describe, expect, test } from 'vitest';
import { Corpus } from '../../fixtures/vhost/corpus.js';
import { Rig } from '../../fixtures/vhost/rig.js';
import { type Case, cases, type Outcome, RingFuzz, UNANSWERED } from '../../fixtures/vhost/ring-cases.js';

/** Rings with anything in them: what is sound is answered, what is not ends the queue, and nothing else. */

const LONG = process.env.RAWSTOR_TEST_LONG === '1';
const BATCH = 4;
const CASES = Number(process.env.RAWSTOR_TEST_CASES ?? (LONG ? 1_000_000 : 4_000));
const MINUTES = 60_000;
let rig: Rig | undefined;
afterEach(() => rig?.close());

/** Two of one kind end for the same reason, with the same answers. */
const kindOf = ({ statuses, fault }: Outcome) =>
  `${[...new Set(statuses)].sort().join()} ${fault?.replace(/\d+/g, 'N')}`;

/** With memory and device as they are at first: what earlier ones left there may be taken for requests. */
async function fresh(batch: Case[], packed: boolean): Promise<Outcome> {
  const own = new Rig();
  try {
    return await (await RingFuzz.start(own, packed)).run(batch);
  } finally {
    await own.close();
  }
}

describe.each([
  ['split', false],
  ['packed', true],
])('a hostile guest with a %s ring', (name, packed) => {
  test(
    `ends no more than its own queue in ${CASES} cases${LONG ? ' (long)' : ''}`,
    async () => {
      rig = new Rig();
      const fuzz = await RingFuzz.start(rig, packed);
      const corpus = Corpus.open<Case[], Outcome>(`rings-${name}`, kindOf);
      let [seen, reached] = [0, 0];
      await fc.assert(
        fc.asyncProperty(fc.array(cases, { minLength: BATCH, maxLength: BATCH }), async (batch) => {
          const outcome = await fuzz.run(batch);
          corpus.note(batch, outcome);
          seen += outcome.statuses.length;
          reached += outcome.statuses.filter((status) => status !== UNANSWERED).length;
        }),
        { numRuns: CASES / BATCH, endOnFailure: true },
      );
      await corpus.write((batch) => fresh(batch, packed));
      console.log(`${name}: ${reached} of ${seen} chains passed validation`);
      expect(reached / seen).toBeGreaterThan(0.3);
    },
    LONG ? 60 * MINUTES : MINUTES,
  );

  test('has what it had in every saved case', async () => {
    const { saved } = Corpus.open<Case[], Outcome>(`rings-${name}`, kindOf);
    expect(saved.length).toBeGreaterThan(20);
    for (const { input, outcome } of saved) {
      expect(await fresh(input, packed), JSON.stringify(input)).toEqual(outcome);
    }
  });
});
