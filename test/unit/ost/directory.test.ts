import { mkdir, open, readdir, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { systemClock } from '../../../src/common/clock.js';
import { seededRandom } from '../../../src/common/random.js';
import { KiB } from '../../../src/common/units.js';
import { Connector } from '../../../src/protocol/index.js';
import {
  failure,
  OstProcess,
  objectRecord,
  openIo,
  ProcessEnd,
  start,
  temporaryDirectory,
  testId,
  Writer,
} from './support.js';

const LONG = process.env.RAWSTOR_TEST_LONG === '1';

/** An OST's directory with some objects in it; its records take several pages of every kind. */
async function filled(): Promise<string> {
  const io = openIo();
  const dir = temporaryDirectory();
  const ost = await start(io, dir);
  for (let number = 1; number <= 40; number++) {
    const writer = await Writer.attach(io, ost.addresses[0]!, objectRecord(number), 2);
    const writes = [0, 1, 2, 3].map((chunk) => writer.write(chunk, 0, Buffer.alloc(4 * KiB, number)));
    for (const { status } of await Promise.all(writes)) expect(status).toBe('OK');
    if (number % 8 === 0) await writer.call('ost.deleteObject', { objectId: testId(number - 4) });
    writer.peer.destroy();
  }
  await ost.close();
  return dir;
}

const records = (dir: string) => join(dir, 'records', 'data.mdb');

async function ending(dir: string): Promise<ProcessEnd | null> {
  const outcome = await OstProcess.start(dir).catch((error: unknown) => error);
  if (outcome instanceof ProcessEnd) return outcome;
  await (outcome as OstProcess).kill('SIGTERM');
  return null;
}

test('an empty directory becomes an OST, which it stays', async () => {
  const io = openIo();
  const dir = join(temporaryDirectory(), 'new', 'deep');
  const first = await start(io, dir);
  await first.close();
  const second = await start(io, dir);
  expect(second.ostId).toBe(first.ostId);
  const identity = JSON.parse(await readFile(join(dir, 'rawstor-ost.json'), 'utf8'));
  expect(identity).toEqual({ format: 1, clusterId: '', serverId: first.ostId });
});

test('two never share it', async () => {
  const io = openIo();
  const dir = temporaryDirectory();
  const running = await OstProcess.start(dir);
  const error = await failure('BUSY', start(io, dir));
  expect(error.toUserText()).toContain(`process ${running.child.pid}`);
  await running.kill();
  await (await start(io, dir)).close();
});

test('a directory with other files is refused, and not even a lock is left in it', async () => {
  const io = openIo();
  const dir = temporaryDirectory();
  await writeFile(join(dir, 'holiday.jpg'), 'x');
  const error = await failure('CONFIG', start(io, dir));
  expect(error.toUserText()).toContain('holiday.jpg');
  expect(error.where).toBe(dir);
  expect(await readdir(dir)).toEqual(['holiday.jpg']);
  await writeFile(join(dir, 'rawstor-mds.json'), '{}');
  expect((await failure('CONFIG', start(io, dir))).message).toContain("another server's");
});

test('a first start that was cut short is finished, as the same OST', async () => {
  const io = openIo();
  const dir = temporaryDirectory();
  const first = await start(io, dir);
  await first.close();
  await rm(join(dir, 'rawstor-ost.json'));
  await writeFile(join(dir, 'rawstor-ost.json.tmp'), '{"form');
  expect((await start(io, dir)).ostId).toBe(first.ostId);
});

test('a damaged, newer or mixed-up identity is named', async () => {
  const io = openIo();
  const dir = temporaryDirectory();
  await (await start(io, dir)).close();
  const file = join(dir, 'rawstor-ost.json');
  await writeFile(file, '{"format": 1, "serv');
  expect((await failure('BAD_DATA', start(io, dir))).where).toBe(file);
  await writeFile(file, JSON.stringify({ format: 2, clusterId: '', serverId: testId(1) }));
  await failure('VERSION', start(io, dir));
  await writeFile(file, JSON.stringify({ format: 1, clusterId: '', serverId: testId(1) }));
  const mixed = await failure('BAD_DATA', start(io, dir));
  expect(mixed.toUserText()).toContain('another OST');
});

test('truncated records end the start with exit code 65, naming the file and the repair', async () => {
  const dir = await filled();
  await truncate(records(dir), Math.floor((await stat(records(dir))).size / 2));
  const end = await ending(dir);
  expect([end?.code, end?.signal]).toEqual([65, null]);
  expect(end?.said).toContain(records(dir));
  expect(end?.said).toMatch(/move this OST's directory away/);
});

test('records that are gone, empty or overwritten are found too', async () => {
  const io = openIo();
  const dir = await filled();
  const { size } = await stat(records(dir));
  await writeFile(records(dir), Buffer.alloc(size, 0xff));
  await failure('BAD_DATA', start(io, dir));
  await truncate(records(dir), 0);
  await failure('BAD_DATA', start(io, dir));
  await rm(join(dir, 'records'), { recursive: true });
  await mkdir(join(dir, 'records'));
  expect((await failure('BAD_DATA', start(io, dir))).where).toBe(records(dir));
});

test('chunks that are gone are not replaced by none, which would read as zeros', async () => {
  const io = openIo();
  const dir = await filled();
  const chunks = join(dir, 'chunks');
  await rm(chunks, { recursive: true });
  const error = await failure('BAD_DATA', start(io, dir));
  expect(error.where).toBe(chunks);
  expect(await readdir(dir)).not.toContain('chunks');
});

test('an OST on another directory is not taken for the one that was at its address', async () => {
  const io = openIo();
  const listen = [`unix:${temporaryDirectory()}/sock`];
  const identity = { role: 'client' as const, clusterId: '', name: 'test' };
  const connector = new Connector({ io, clock: systemClock, identity });
  const first = await start(io, temporaryDirectory(), { listen });
  (await connector.connect(first.ostId, first.addresses, 5000)).destroy();
  await first.close();
  const second = await start(io, temporaryDirectory(), { listen });
  const error = await failure('UNAVAILABLE', connector.connect(first.ostId, first.addresses, 5000));
  expect(error.message).toContain(second.ostId);
  expect(error.message).toContain(first.ostId);
  (await connector.connect(second.ostId, second.addresses, 5000)).destroy();
});

test('whatever is damaged in the records, a start ends with an error or serves, never by a signal', {
  timeout: 600_000,
}, async () => {
  const random = seededRandom(11);
  const dir = await filled();
  const whole = await readFile(records(dir));
  const rounds = LONG ? 200 : 5;
  for (let round = 0; round < rounds; round++) {
    const damaged = Buffer.from(whole);
    if (round % 5 === 0) {
      const cut = Math.floor((damaged.length * (1 + random.below(98))) / 100);
      await writeFile(records(dir), damaged.subarray(0, cut));
    } else {
      const page = random.below(damaged.length / 4096) * 4096;
      for (let i = 0; i < 1 + random.below(64); i++) damaged[page + random.below(4096)] = random.below(256);
      await writeFile(records(dir), damaged);
    }
    const end = await ending(dir);
    expect(end?.signal ?? null, `round ${round}: ${end?.said}`).toBeNull();
    if (end !== null) expect([65, 76], `round ${round}: ${end.said}`).toContain(end.code);
  }
});

test('a malformed record is named, not guessed at', async () => {
  const io = openIo();
  const dir = temporaryDirectory();
  await (await start(io, dir)).close();
  const file = await open(records(dir), 'r+');
  const bytes = await file.readFile();
  // The field's name in the boot record, wherever the pages hold it.
  for (let at = bytes.indexOf('generation'); at >= 0; at = bytes.indexOf('generation', at + 1)) {
    await file.write('generatiom', at);
  }
  await file.close();
  const error = await failure('BAD_DATA', start(io, dir));
  expect(error.where).toBe(records(dir));
  expect(error.message).toContain('boot record');
});
