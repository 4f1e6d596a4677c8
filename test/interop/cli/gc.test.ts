import { cpSync, existsSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { ok } from './outcome.js';
import { until } from './programs.js';
import { Servers } from './servers.js';

/** `rawstor gc`, where a server has come back with what it was long ago. */

const MINUTES = 60_000;
let servers: Servers;
const place = (...parts: string[]) => join(servers.cwd, ...parts);

beforeAll(async () => {
  servers = await Servers.start(2);
}, MINUTES);
afterAll(() => servers.remove(), MINUTES);

const alive = async () => (await servers.osts()).filter((ost) => ost.alive).length;
const collect = async (...args: string[]) =>
  JSON.parse(ok(await servers.rawstor('gc', ...args, '--output', 'json'))).osts as {
    ostId: string;
    removed: string[];
    unknown: string[];
  }[];

/** A volume with data, and its id. */
async function make(name: string): Promise<string> {
  ok(await servers.volume('create', name, '--size', '16M', '--replicas', '2'));
  ok(await servers.volume('bench', name, '--rw', 'write', '--duration', '1s', '--yes'));
  return JSON.parse(ok(await servers.volume('info', name, '--output', 'json'))).id;
}

/** Whether the OST has files of the object. */
function has(ost: string, id: string): boolean {
  const files = readdirSync(place(ost, 'chunks'), { recursive: true }) as string[];
  return files.some((file) => file.includes(`${id}/`));
}

/** Whether some OST has not said yet that it has removed this. */
async function isUnconfirmed(id: string): Promise<boolean> {
  const lines = ok(await servers.rawstor('mds', 'dump', '-')).split('\n');
  return lines.some((line) => line.includes(id) && !line.includes('"ostIds":[]'));
}

/** The server runs on a directory that it had earlier. */
async function putBack(name: string, start: () => Promise<void>): Promise<void> {
  await servers.kill(name);
  rmSync(place(name), { recursive: true });
  cpSync(place(`${name}.old`), place(name), { recursive: true });
  await start();
  await until(async () => (await alive()) === 2);
}

test(
  'what a disk brings back of a removed volume is said first, then removed, and nothing else is',
  async () => {
    const [gone, stays] = [await make('gone'), await make('stays')];
    await servers.kill('ost-1');
    cpSync(place('ost-1'), place('ost-1.old'), { recursive: true });
    await servers.serveOst(1);
    await until(async () => (await alive()) === 2);
    ok(await servers.volume('rm', 'gone'));
    // Until then the metadata server tells the OST by itself.
    await until(async () => !(await isUnconfirmed(gone)));
    expect(has('ost-1', gone)).toBe(false);
    await putBack('ost-1', () => servers.serveOst(1));
    expect(has('ost-1', gone)).toBe(true);
    const said = await collect('--dry-run');
    expect(said.flatMap(({ removed }) => removed)).toEqual([gone]);
    expect(has('ost-1', gone)).toBe(true);
    await collect();
    await until(() => !has('ost-1', gone));
    for (const ost of ['ost-1', 'ost-2']) expect(has(ost, stays)).toBe(true);
  },
  2 * MINUTES,
);

test(
  'what the metadata server has lost is listed and kept',
  async () => {
    await servers.kill('mds');
    cpSync(place('mds'), place('mds.old'), { recursive: true });
    await servers.serveMds();
    await until(async () => (await alive()) === 2);
    const late = await make('late');
    await putBack('mds', () => servers.serveMds());
    expect(existsSync(place('mds'))).toBe(true);
    for (const { removed, unknown } of await collect()) {
      expect(removed).toEqual([]);
      expect(unknown).toEqual([late]);
    }
    expect(ok(await servers.rawstor('gc'))).toContain(`unknown to the metadata server, kept: ${late}`);
    for (const ost of ['ost-1', 'ost-2']) expect(has(ost, late)).toBe(true);
  },
  2 * MINUTES,
);
