import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { run, until } from './programs.js';
import { done, Servers } from './servers.js';

/** What servers make of their configuration and location. */

let servers: Servers;
let host: string;
beforeEach(async () => {
  servers = await Servers.start(1);
  host = servers.host;
});
afterEach(() => servers.remove());

const osts = async (): Promise<{ labels: Record<string, string>; alive: boolean }[]> =>
  JSON.parse((await done(servers.rawstor('ost', 'ls', '--output', 'json'))).stdout);

function configure(name: string, text: string): void {
  const place = `mgs = ["${host}:7770"]\nmds = ["${host}:7771"]\n`;
  writeFileSync(join(servers.cwd, name), text.replace('PLACE', place));
}

it('servers of another cluster than the configured one are refused by gateways and by new OSTs', async () => {
  configure('other.toml', 'cluster-id = "01900000-0000-7000-8000-0000000000ff"\nPLACE');
  const listen = ['--listen', `unix:${servers.cwd}/other.sock`, '--timeout', '2s'];
  const serve = (...args: string[]) => run('cli/rawstor', ['serve', ...args], { cwd: servers.cwd });
  const refused = await serve('nbd', '-c', 'other.toml', ...listen);
  expect(refused).toMatchObject({ code: 77, stderr: expect.stringContaining('another cluster') });
  const joined = await serve('ost', '-c', 'other.toml', '--dir', 'ost-1', '--listen', `${host}:7790`);
  expect(joined).toMatchObject({ code: 78, stderr: expect.stringContaining('belongs to cluster') });
  await servers.serveAt(['-c', 'other.toml'], 'ost-9', '--listen', `${host}:7791`);
  await new Promise((resolve) => setTimeout(resolve, 3000));
  expect(await osts()).toHaveLength(1);
}, 60_000);

it('a node has the labels of [serve-ost]; servers start while one address of their location is away', async () => {
  configure('node.toml', 'PLACE[serve-ost]\nlabels = { rack = "r1", host = "n1" }\n');
  const listen = ['--listen', `${host}:7792`, '--nbd-listen', `unix:${servers.cwd}/node.sock`];
  await servers.serveAt(['-c', 'node.toml'], 'node', ...listen);
  await until(async () => (await osts()).some(({ labels }) => labels.rack === 'r1' && labels.host === 'n1'));
  await servers.kill('mgs');
  const location = ['--location', `${host}:7770,${host}:7771`];
  const dump = await run('cli/rawstor', [...location, 'mds', 'dump', '-'], { cwd: servers.cwd });
  expect(dump).toMatchObject({ code: 0 });
  await servers.serveAt(location, 'ost-8', '--listen', `${host}:7793`);
  await until(async () => (await osts()).filter(({ alive }) => alive).length === 3);
}, 60_000);
