import { mkdtemp, open, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { type MdsDirectory, openMdsDirectory } from '../../../src/mds/directory.js';
import { encodeBody } from '../../../src/protocol/index.js';
import { MdsProcess, ProcessEnd } from './processes.js';
import { failure, testId } from './support.js';

let dir: string;
let held: MdsDirectory[] = [];

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'rawstor-mds-'));
});
afterEach(async () => {
  for (const one of held) await one.close();
  held = [];
  await rm(dir, { recursive: true });
});

async function openOnce(clusterId?: string): Promise<{ clusterId: string; serverId: string }> {
  const directory = await openMdsDirectory(dir, clusterId);
  const { clusterId: cluster, serverId } = directory;
  await directory.close();
  return { clusterId: cluster, serverId };
}

test('an empty directory becomes an MDS of a new cluster, which it stays', async () => {
  const first = await openOnce();
  expect(await openOnce()).toEqual(first);
  expect(await openOnce(first.clusterId)).toEqual(first);
  const identity = JSON.parse(await readFile(join(dir, 'rawstor-mds.json'), 'utf8'));
  expect(identity).toEqual({ format: 1, ...first });
});

test('the cluster may be given; then the directory is of that one only', async () => {
  expect((await openOnce(testId(1))).clusterId).toBe(testId(1));
  const error = await failure('CONFIG', openOnce(testId(2)));
  expect(error.toUserText()).toContain(`belongs to cluster ${testId(1)}`);
  await failure('CONFIG', openOnce('not-an-id'));
});

test('two never share it', async () => {
  const running = await MdsProcess.start(dir);
  const error = await failure('BUSY', openMdsDirectory(dir));
  expect(error.toUserText()).toContain('process ');
  await running.kill('SIGTERM');
  held.push(await openMdsDirectory(dir));
});

test("a directory with other files, or another server's, is refused untouched", async () => {
  await writeFile(join(dir, 'holiday.jpg'), 'x');
  expect((await failure('CONFIG', openMdsDirectory(dir))).message).toContain('holiday.jpg');
  await writeFile(join(dir, 'rawstor-ost.json'), '{}');
  expect((await failure('CONFIG', openMdsDirectory(dir))).message).toContain("another server's");
  await expect(stat(join(dir, 'metadata'))).rejects.toThrow();
});

test('a first start that was cut short is finished', async () => {
  const first = await openOnce();
  await rm(join(dir, 'rawstor-mds.json'));
  await writeFile(join(dir, 'rawstor-mds.json.tmp'), '{"form');
  expect((await openOnce()).clusterId).toBe(first.clusterId);
});

test('a damaged identity file is named', async () => {
  await openOnce();
  await writeFile(join(dir, 'rawstor-mds.json'), '{"format": 1, "clus');
  const error = await failure('BAD_DATA', openMdsDirectory(dir));
  expect(error.where).toBe(join(dir, 'rawstor-mds.json'));
  await writeFile(
    join(dir, 'rawstor-mds.json'),
    `{"format":2,"clusterId":"${testId(1)}","serverId":"${testId(2)}"}`,
  );
  await failure('VERSION', openMdsDirectory(dir));
});

test('an identity and a store of different clusters are refused', async () => {
  const { serverId } = await openOnce();
  const identity = { format: 1, clusterId: testId(1), serverId };
  await writeFile(join(dir, 'rawstor-mds.json'), JSON.stringify(identity));
  await failure('BAD_DATA', openMdsDirectory(dir));
});

test('a store that is gone is an error, not a new cluster', async () => {
  await openOnce();
  await rm(join(dir, 'metadata'), { recursive: true });
  const error = await failure('BAD_DATA', openMdsDirectory(dir));
  expect(error.where).toContain('data.mdb');
});

test('a damaged store ends the start with exit code 65, naming the file and the repair', async () => {
  const directory = await openMdsDirectory(dir);
  for (let i = 0; i < 200; i++) {
    await directory.store.transact({ checks: [], puts: [{ key: `x/${i}`, value: Buffer.alloc(2000, i) }] });
  }
  await directory.close();
  const file = join(dir, 'metadata', 'data.mdb');
  await truncate(file, Math.floor((await stat(file)).size / 2));
  const end = await MdsProcess.start(dir).catch((error: unknown) => error);
  expect(end).toBeInstanceOf(ProcessEnd);
  expect((end as ProcessEnd).code).toBe(65);
  expect((end as ProcessEnd).said).toContain(file);
  expect((end as ProcessEnd).said).toMatch(/rawstor mds rebuild/);
});

test('overwritten pages of the store are found too', async () => {
  await openOnce();
  const file = await open(join(dir, 'metadata', 'data.mdb'), 'r+');
  const { size } = await file.stat();
  await file.write(Buffer.alloc(size, 0xff), 0, size, 0);
  await file.close();
  await failure('BAD_DATA', openMdsDirectory(dir));
});

test('a malformed record is named', async () => {
  const directory = await openMdsDirectory(dir);
  const key = `ost/${testId(1)}`;
  await directory.store.transact({ checks: [], puts: [{ key, value: encodeBody({ info: 1 }) }] });
  await directory.close();
  const end = await MdsProcess.start(dir).catch((error: unknown) => error);
  expect((end as ProcessEnd).code).toBe(65);
  expect((end as ProcessEnd).said).toContain(key);
});
