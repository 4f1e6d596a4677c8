import { readdirSync } from 'node:fs';
import { expect, test } from 'vitest';
import { KiB } from '../../../src/common/units.js';
import { openFilesWithin } from '../../../src/ost/descriptors.js';
import { OstProcess, objectRecord, openIo, temporaryDirectory, until, Writer } from './support.js';

/** Many volumes of many versions, and few descriptors: none is leaked, and what is not in use is closed. */

const LAYERS = 40;
const VOLUMES = 8;
const NOFILE = 256;
const BLOCK = 4 * KiB;

function layered(number: number, head: number) {
  const { sizeBytes } = objectRecord(number);
  const snapshots = Array.from({ length: head - 1 }, (_, i) => ({
    version: i + 1,
    over: i,
    name: `s${i + 1}`,
    sizeBytes,
    createdWallMs: 0,
    protected: false,
  }));
  return objectRecord(number, { epoch: head, headVersion: head, headOver: head - 1, snapshots });
}

test('chunks get half of what the process may have open', () => {
  const limits = (soft: string) => () =>
    `Limit Soft Hard Units\nMax open files            ${soft} 4096 files\n`;
  expect(openFilesWithin(1024, limits('65536'))).toBe(1024);
  expect(openFilesWithin(1024, limits('256'))).toBe(96);
  expect(openFilesWithin(1024, limits('20'))).toBe(16);
  expect(openFilesWithin(1024, limits('unlimited'))).toBe(1024);
  expect(openFilesWithin(2, limits('256'))).toBe(2);
  expect(openFilesWithin(1024)).toBeLessThanOrEqual(1024);
});

test('volumes of many versions, each with something unflushed, have fewer descriptors than versions', async () => {
  const io = openIo();
  const ost = await OstProcess.start(temporaryDirectory(), {}, ['prlimit', `--nofile=${NOFILE}:${NOFILE}`]);
  const used = () => readdirSync(`/proc/${ost.child.pid}/fd`).length;
  const writers: Writer[] = [];
  for (let number = 1; number <= VOLUMES; number++) {
    const writer = await Writer.connect(io, ost.address);
    writers.push(writer);
    for (let head = 1; head <= LAYERS; head++) {
      await writer.attach(layered(number, head), head, 1);
      // Nobody flushes: what is unflushed keeps all below it open.
      const written = await writer.write(0, head * BLOCK, Buffer.alloc(BLOCK, head), { chunkVersion: head });
      expect(written.status).toBe('OK');
    }
  }
  for (let round = 0; round < 3; round++) {
    for (const writer of writers) {
      const read = await writer.read(0, BLOCK, LAYERS * BLOCK, { chunkVersion: LAYERS });
      expect(read.status).toBe('OK');
      for (let head = 1; head <= LAYERS; head++) expect(read.bytes[(head - 1) * BLOCK]).toBe(head);
      const written = await writer.write(0, 0, Buffer.alloc(BLOCK, round), { chunkVersion: LAYERS });
      expect(written.status).toBe('OK');
    }
    expect(used()).toBeLessThan(NOFILE);
  }
  // All at once need more than there are: whoever finds none is told what is missing, and it passes.
  const all = await Promise.all(
    writers.map((writer) => writer.read(0, BLOCK, LAYERS * BLOCK, { chunkVersion: LAYERS })),
  );
  for (const { status } of all) expect(['OK', 'LIMIT']).toContain(status);
  for (const writer of writers) {
    await until(async () => (await writer.read(0, BLOCK, BLOCK, { chunkVersion: LAYERS })).status === 'OK');
    expect((await writer.flush()).status).toBe('OK');
  }
  await ost.kill('SIGTERM');
}, 120_000);
