import { randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { MiB } from '../../../src/common/units.js';
import { begin, UpCluster, until } from './programs.js';

/** Scrubs that do not come to their end: killed, cancelled, or with an OST that goes away. */

const MINUTES = 60_000;
let up: UpCluster;
let osts: string[];

interface Row {
  ostId: string;
  checkedBytes: number;
  unsealedRegions: number;
  failure: string;
}

beforeAll(async () => {
  up = await UpCluster.start(['--osts', '2']);
  writeFileSync(join(up.cwd, 'image'), randomBytes(8 * MiB));
  expect((await up.volume('import', 'image', 'two')).code).toBe(0);
  await until(async () => (await scrub()).rows.every((row) => row.unsealedRegions === 0));
  osts = (await scrub()).rows.map(({ ostId }) => ostId);
  expect(osts).toHaveLength(2);
}, 2 * MINUTES);
afterAll(() => up.remove(), MINUTES);

const resultOf = ({ exitCode, stdout }: { exitCode?: number | undefined; stdout: string }) => ({
  code: exitCode,
  rows: JSON.parse(stdout).osts as Row[],
});

async function scrub(...args: string[]) {
  const { code, stdout } = await up.rawstor('scrub', '--output', 'json', ...args);
  return resultOf({ exitCode: code, stdout });
}

/** One that takes eight seconds, under way. */
async function slowScrub() {
  const child = begin('cli/rawstor', ['scrub', '--rate', '1M', '--output', 'json'], { cwd: up.cwd });
  await new Promise((resolve) => setTimeout(resolve, 2000));
  // Another is refused while it runs.
  const { code, rows } = await scrub();
  for (const { failure } of rows) expect(failure).toMatch(/running already.*\[BUSY\]\n.*scrub --cancel/);
  expect(code).toBe(75);
  return { child };
}

test(
  'a killed scrub is in nobody’s way',
  async () => {
    const { child: killed } = await slowScrub();
    killed.kill('SIGKILL');
    await killed;
    await new Promise((resolve) => setTimeout(resolve, 500));
    const { code, rows } = await scrub();
    expect(rows.map(({ failure }) => failure)).toEqual(['', '']);
    expect(code).toBe(0);
  },
  MINUTES,
);

test(
  'a scrub can be cancelled, and says so',
  async () => {
    const { child: cancelled } = await slowScrub();
    const told = await up.rawstor('scrub', '--cancel', '--ost', osts[0]!, '--output', 'json');
    expect(JSON.parse(told.stdout)).toEqual([{ ostId: osts[0], cancelled: true, failure: '' }]);
    expect(told.code).toBe(0);
    expect((await up.rawstor('scrub', '--cancel')).code).toBe(0);
    const { code, rows } = resultOf(await cancelled);
    expect(code).toBe(75);
    for (const { failure, checkedBytes } of rows) {
      expect(failure).toBe('it was cancelled');
      expect(checkedBytes).toBeLessThan(8 * MiB);
    }
    expect((await up.rawstor('scrub', '--cancel', 'two')).stdout).toMatch(/none/);
  },
  MINUTES,
);

test(
  'of the OSTs that stay the results are told when one goes',
  async () => {
    const { child: scrubbing } = await slowScrub();
    process.kill(up.facts.pids['ost-1']!, 'SIGKILL');
    const { code, rows } = resultOf(await scrubbing);
    expect(code).toBe(75);
    const [gone, stays] = [...rows].sort((a, b) => b.failure.length - a.failure.length);
    expect(gone!.failure).toMatch(/^it went away: .*/);
    expect(stays).toMatchObject({ failure: '' });
    // Of the volume, and of what S3 keeps.
    expect(stays!.checkedBytes).toBeGreaterThanOrEqual(8 * MiB);
  },
  MINUTES,
);

test(
  'an OST is named as everywhere',
  async () => {
    await until(async () => (await up.rawstor('status')).code === 0);
    expect((await up.rawstor('scrub', '--ost', osts[0]!.slice(-8))).code).toBe(0);
    expect((await up.rawstor('scrub', '--ost', '')).code).toBe(64);
    expect((await up.rawstor('scrub', '--ost', osts[0]!.slice(-3))).code).toBe(66);
    expect((await up.rawstor('scrub', 'two', '--ost', 'nobody')).code).toBe(66);
    expect((await up.rawstor('scrub', '--rate', '1000K')).code).toBe(64);
  },
  MINUTES,
);
