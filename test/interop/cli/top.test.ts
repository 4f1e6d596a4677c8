import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { MiB } from '../../../src/common/units.js';
import { SteadyLoad } from '../../fixtures/steady-load.js';
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
  const drain = servers.begin('ost', 'drain', from, '--rate', '2M');
  let seen = await top();
  // Half a minute long, so that it is seen however long a look takes.
  while ((seen.recovery[0]?.copiedBytesPerSecond ?? 0) === 0) {
    expect(drain.exitCode).toBeNull();
    seen = await top();
  }
  const [row] = seen.recovery;
  expect(row).toMatchObject({ volume: 'v', regionsTotal: 16 });
  const target = seen.osts.find(({ ostId }) => ostId === row!.ostId)!;
  expect(target.rates.writtenBytesPerSecond).toBeGreaterThan(MiB / 2);
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

it('tells where the time of operations goes, in the gateway of the configuration and in OSTs', async () => {
  const nbd = `unix:${servers.cwd}/nbd.sock`;
  await servers.serve('nbd', '--listen', nbd, '--control', `${servers.cwd}/control.sock`);
  const lanes = { lanes: 2, blocksPerLane: 16, strideBytes: 4096, flushEvery: 8 };
  const load = await SteadyLoad.start(nbd, 'v', lanes);
  const asked = ['top', '--trace', '--once', '--interval', '1500ms', '--output', 'json'];
  const { stages } = JSON.parse((await done(servers.rawstor(...asked))).stdout) as {
    stages: { process: string; site: string; kind: string; stage: string; count: number; meanUs: number }[];
  };
  await load.stop();
  const told = (site: string, kind: string) =>
    stages.filter((one) => one.site === site && one.kind === kind && one.count > 0).map(({ stage }) => stage);
  expect(told('nbd', 'write')).toEqual(['request to volume', 'volume', 'answer to kernel', 'all of it']);
  expect(told('last replica', 'write')).toEqual(['sent to answered']);
  const served = ['frame to file', 'file', 'file to answer', 'answer to kernel', 'all of it'];
  expect(told('ost', 'write')).toEqual([...served, ...served]);
  expect(told('ost', 'flush')).toContain('sync');
  const mean = (site: string, stage: string) =>
    stages.find((one) => one.site === site && one.kind === 'write' && one.stage === stage)!.meanUs;
  // What is inside of another takes less.
  expect(mean('ost', 'all of it')).toBeLessThan(mean('nbd', 'all of it'));
  // A gateway that is not there is told of, and is no reason to fail.
  await servers.kill('nbd');
  const without = await done(servers.rawstor(...asked));
  expect(without.stderr).toMatch(/control\.sock/);
  expect(JSON.parse(without.stdout).stages).toEqual([]);
}, 120_000);
