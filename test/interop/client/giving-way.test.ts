import pino from 'pino';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { Volume } from '../../../src/client/index.js';
import { ClientRig, until } from './rig.js';

/** Who opens a volume only to change it, and is overtaken by its user. */

let rig: ClientRig;
let lines: { level: number; msg: string; code?: string }[];
beforeEach(async () => {
  rig = await ClientRig.start(2);
  lines = [];
  await rig.create('v');
});
afterEach(() => rig.end());

const ERROR = 50;

/** A client whose call of `method` waits until somebody else has opened the volume. */
async function overtaken(method: string) {
  const log = pino({ level: 'info' }, { write: (line) => void lines.push(JSON.parse(line)) });
  const cluster = await rig.connect('helper', { log });
  const call = cluster.mds.call.bind(cluster.mds);
  const users: Volume[] = [];
  cluster.mds.call = async (name, params, timeoutMs) => {
    if (name === method && users.length === 0) {
      users.push(await rig.cluster.openVolume('v', { mode: 'write' }));
      await until(() => lines.length > 0);
    }
    return await call(name, params, timeoutMs);
  };
  return { cluster, users };
}

test('a snapshot that its user takes in the end is nothing to be alarmed about', async () => {
  const { cluster, users } = await overtaken('mds.changeVersions');
  const change = { kind: 'snapshot', name: 's' } as const;
  const object = await cluster.changeVolume('v', change, { timeoutMs: 10_000 });
  expect(object.snapshots).toMatchObject([{ name: 's' }]);
  expect(users).toHaveLength(1);
  await users[0]!.close();
  await cluster.close();
  expect(lines[0]).toMatchObject({ code: 'FENCED', msg: 'another session has the volume now' });
  expect(lines.filter(({ level }) => level >= ERROR)).toEqual([]);
});

test('a writer that is shut out says so as an error', async () => {
  const log = pino({ level: 'error' }, { write: (line) => void lines.push(JSON.parse(line)) });
  const cluster = await rig.connect('first', { log });
  const first = await cluster.openVolume('v', { mode: 'write' });
  const second = await rig.cluster.openVolume('v', { mode: 'write', force: true });
  await until(() => lines.length > 0);
  expect(lines).toMatchObject([{ level: ERROR, code: 'FENCED' }]);
  await Promise.all([first.close(), second.close()]);
  await cluster.close();
});
