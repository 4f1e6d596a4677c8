import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { MiB } from '../../../src/common/units.js';
import { done, imageBytes, Servers } from './servers.js';

/** `rawstor top` and `rawstor status` while a copy is on its way. */

let servers: Servers;

beforeAll(async () => {
  servers = await Servers.start(3);
  writeFileSync(join(servers.cwd, 'image'), imageBytes(3, 64 * MiB));
  await done(servers.volume('import', 'image', 'v'));
}, 60_000);
afterAll(() => servers.remove());

it('shows rates of OSTs and how far a copy is', async () => {
  const top = async () => {
    const { stdout } = await done(servers.rawstor('top', '--once', '--interval', '2', '--output', 'json'));
    return JSON.parse(stdout) as {
      osts: { ostId: string; state: string; rates: { writtenBytesPerSecond: number; inFlight: number } }[];
      recovery: { volume: string; ostId: string; regionsTotal: number; copiedBytesPerSecond: number }[];
    };
  };
  const idle = await top();
  expect(idle.recovery).toEqual([]);
  expect(idle.osts.map(({ state }) => state)).toEqual(['up', 'up', 'up']);
  expect(idle.osts.map(({ rates }) => rates.writtenBytesPerSecond)).toEqual([0, 0, 0]);
  const { stdout } = await done(servers.volume('info', 'v', '--output', 'json'));
  const from = JSON.parse(stdout).map.pool[0].ostId as string;
  const drain = servers.begin('ost', 'drain', from, '--rate', '4M');
  let seen = await top();
  while ((seen.recovery[0]?.copiedBytesPerSecond ?? 0) === 0) seen = await top();
  const [row] = seen.recovery;
  expect(row).toMatchObject({ volume: 'v', regionsTotal: 16 });
  const target = seen.osts.find(({ ostId }) => ostId === row!.ostId)!;
  expect(target.rates.writtenBytesPerSecond).toBeGreaterThan(MiB);
  expect(seen.osts.find(({ ostId }) => ostId === from)!.state).toBe('draining');
  // Told every few seconds: a look may see what was copied in more than its own time.
  expect(target.rates.writtenBytesPerSecond).toBeLessThan(16 * MiB);
  const status = JSON.parse((await servers.rawstor('status', '--output', 'json')).stdout);
  expect(status.recovering).toContainEqual(
    expect.objectContaining({ name: 'v', doing: expect.stringMatching(/move .* % of 16 regions copied/) }),
  );
  const text = await done(servers.rawstor('top', '--once', '--interval', '500ms'));
  expect(text.stdout).toMatch(/READS\/S[\s\S]*REGIONS/);
  drain.kill('SIGKILL');
  await drain;
}, 120_000);

it('goes on until it is interrupted, a line a look for programs', async () => {
  const running = servers.begin('top', '--interval', '500ms', '--output', 'jsonl');
  let said = '';
  await new Promise<void>((resolve) => {
    running.stdout!.on('data', (bytes: Buffer) => {
      said += bytes.toString();
      if (said.split('\n').length > 3) resolve();
    });
  });
  running.kill('SIGINT');
  expect((await running).exitCode).toBe(0);
  for (const line of said.trim().split('\n').slice(0, 3)) expect(JSON.parse(line).osts).toHaveLength(3);
});
