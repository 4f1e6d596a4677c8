import { describe, expect, it } from 'vitest';
import { canMakeNamespaces } from '../interop/namespaces/hosts.js';
import { torture } from './torture.js';

/**
 * Random faults under a verifying load. RAWSTOR_TORTURE_SEED=N replays the choices of a run, RAWSTOR_TORTURE_S
 * is how long each lasts.
 */

const LONG = process.env.RAWSTOR_TEST_LONG === '1';
const SECONDS = Number(process.env.RAWSTOR_TORTURE_S ?? (LONG ? 600 : 25));
const fresh = Date.now() % 2 ** 31;
const seeds =
  process.env.RAWSTOR_TORTURE_SEED === undefined ? [6, fresh] : [Number(process.env.RAWSTOR_TORTURE_SEED)];

describe.skipIf(!(await canMakeNamespaces()))('a cluster under torture', () => {
  it.each(seeds)(
    'gives no wrong byte and loses nothing that was flushed: seed %i',
    async (seed) => {
      console.log(
        `RAWSTOR_TORTURE_SEED=${seed} RAWSTOR_TORTURE_S=${SECONDS} npx vitest run test/crash/torture.test.ts`,
      );
      const report = await torture(seed, SECONDS * 1000);
      console.log(JSON.stringify(report));
      expect(report.answered).toBeGreaterThan(0);
      expect(Object.keys(report.faults).length).toBeGreaterThan(1);
    },
    SECONDS * 1000 + 300_000,
  );
});
