import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { seededRandom } from '../../../src/common/random.js';
import { MiB } from '../../../src/common/units.js';
import { createIo, type Io } from '../../../src/io/index.js';
import { openMdsDirectory } from '../../../src/mds/directory.js';
import { prefixRange } from '../../../src/mds/store.js';
import { decodeStored } from '../../../src/mds/stored-object.js';
import { decodeBody, type ObjectInfo } from '../../../src/protocol/index.js';
import { MdsProcess, TestClient } from './processes.js';
import { createSpec, ostInfo } from './support.js';

const ROUNDS = process.env.RAWSTOR_TEST_LONG === undefined ? 5 : 60;

let dir: string;
let io: Io;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'rawstor-mds-'));
  io = createIo({ poolBytes: 16 * MiB });
});
afterEach(async () => {
  await io.close();
  await rm(dir, { recursive: true });
});

/** What was answered before the kill, by name: the last epoch, or that it is gone. */
type Answered = Map<string, { epoch: number } | 'removed' | 'unknown'>;

/** Creates, changes and removes volumes, several at a time, until the connection is lost. */
async function work(client: TestClient, round: number, answered: Answered): Promise<void> {
  for (const number of [1, 2]) await client.call('mds.registerOst', ostInfo(number));
  const lane = async (which: number) => {
    for (let i = 0; ; i++) {
      const name = `r${round}-${which}-${i}`;
      const made = await client.call('mds.createObject', createSpec({ name }));
      answered.set(name, { epoch: made.epoch });
      const { sessionEpoch } = await client.call('mds.open', {
        ref: name,
        mode: 'write',
        holder: 'h',
        force: false,
      });
      answered.set(name, { epoch: sessionEpoch });
      const seal = { id: made.id, sessionEpoch, expectedEpoch: sessionEpoch, requestId: 'r', seal: 1 };
      answered.set(name, await client.call('mds.seal', seal));
      if (i % 2 === 0) continue;
      answered.set(name, 'unknown');
      await client.call('mds.remove', { ref: name, force: true });
      answered.set(name, 'removed');
    }
  };
  await Promise.allSettled([0, 1, 2].map(lane));
}

/** The store as the dead process left it: names and objects match one to one, removed ones have tombstones only. */
async function checkStore(answered: Answered): Promise<void> {
  const directory = await openMdsDirectory(dir);
  const { store } = directory;
  const names = await store.range(prefixRange('name/'));
  const objects = await store.range(prefixRange('object/'));
  const tombstones = await store.range(prefixRange('tomb/'));
  const byId = new Map(objects.map((e) => [e.key.slice('object/'.length), decodeStored(e.key, e.value)]));
  expect(names.length).toBe(objects.length);
  for (const { key, value } of names) {
    expect(`name/${byId.get(decodeBody(value) as string)?.object.name}`).toBe(key);
  }
  for (const { key } of tombstones) expect(byId.has(key.slice('tomb/'.length))).toBe(false);
  const removed = [...answered.values()].filter((state) => state === 'removed').length;
  const unknown = [...answered.values()].filter((state) => state === 'unknown').length;
  expect(tombstones.length).toBeGreaterThanOrEqual(removed);
  expect(tombstones.length).toBeLessThanOrEqual(removed + unknown);
  await directory.close();
}

/** The next process answers with everything that was answered before. */
async function checkAnswers(client: TestClient, answered: Answered): Promise<void> {
  const there = new Map<string, ObjectInfo>();
  for (let after = ''; ; ) {
    const { objects } = await client.call('mds.list', { after, limit: 100 });
    for (const object of objects) there.set(object.name, object);
    if (objects.length === 0) break;
    after = objects.at(-1)!.name;
  }
  for (const [name, state] of answered) {
    if (state === 'removed') expect(there.has(name)).toBe(false);
    else if (state !== 'unknown') expect(there.get(name)?.epoch).toBeGreaterThanOrEqual(state.epoch);
  }
}

test('kill -9 at any moment leaves no half-made volume and loses nothing that was answered', async () => {
  const random = seededRandom(11);
  const answered: Answered = new Map();
  for (let round = 0; round < ROUNDS; round++) {
    const mds = await MdsProcess.start(dir);
    const client = await TestClient.connect(io, mds.address);
    await checkAnswers(client, answered);
    const before = answered.size;
    const working = work(client, round, answered);
    // The kill comes after some answers, so that each round does something however slow the machine is.
    const enough = before + 3 + random.below(20);
    while (answered.size < enough) await new Promise((resolve) => setTimeout(resolve, 1));
    await mds.kill('SIGKILL');
    await working;
    await checkStore(answered);
  }
  expect([...answered.values()].filter((state) => state === 'removed').length).toBeGreaterThan(0);
});
