import { expect, test } from 'vitest';
import { MiB } from '../../../src/common/units.js';
import type { ScrubJob } from '../../../src/protocol/index.js';
import { objectRecord, openIo, start, temporaryDirectory, Writer } from './support.js';

/** Scrubs that somebody asks for: whose they are, and how they end. */

const RECORD = objectRecord(1);
const SLOW = { objectId: RECORD.id, bytesPerSec: MiB };
const FAST = { objectId: RECORD.id, bytesPerSec: 256 * MiB };

const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

/** An OST with 16 MiB that have checksums, and who wrote them. */
async function sealed(): Promise<{ writer: Writer; another: () => Promise<Writer> }> {
  const io = openIo();
  const ost = await start(io, temporaryDirectory(), { tuning: { scrubBytesPerSec: 0 } });
  const writer = await Writer.attach(io, ost.addresses[0]!, RECORD, 2);
  for (let chunk = 0; chunk < 4; chunk++) {
    for (let at = 0; at < 4; at++) await writer.write(chunk, at * MiB, Buffer.alloc(MiB, 7));
  }
  await writer.flush();
  const set = { epoch: 3, members: [] };
  await writer.call('ost.storeSet', { handle: writer.handle, set, lastSeal: 2 });
  await writer.call('ost.scrub', FAST);
  expect(await ended(writer)).toMatchObject({ checkedBytes: 16 * MiB, failure: '' });
  return { writer, another: () => Writer.connect(io, ost.addresses[0]!) };
}

const jobOf = async (client: Writer): Promise<ScrubJob> => (await client.call('ost.scrubStatus', {})).job!;

async function ended(client: Writer): Promise<ScrubJob> {
  for (;;) {
    const job = await jobOf(client);
    if (!job.running) return job;
    await sleep(10);
  }
}

test('a scrub ends with the connection that began it, and holds nobody up', async () => {
  const { writer, another } = await sealed();
  const killed = await another();
  await killed.call('ost.scrub', SLOW);
  await expect(writer.call('ost.scrub', SLOW)).rejects.toMatchObject({ code: 'BUSY' });
  expect(await jobOf(writer)).toMatchObject({ running: true, failure: '' });
  killed.peer.destroy();
  const killedAtMs = Date.now();
  const job = await ended(writer);
  // Not only when its region is done, which would take four seconds.
  expect(Date.now() - killedAtMs).toBeLessThan(1500);
  expect(job).toMatchObject({ failure: 'whoever asked for it is gone' });
  expect(job.checkedBytes).toBeLessThan(16 * MiB);
  await writer.call('ost.scrub', FAST);
  expect(await ended(writer)).toMatchObject({ checkedBytes: 16 * MiB, failure: '' });
});

test('the next one need not wait until it has been noticed that a scrub is over', async () => {
  const { writer, another } = await sealed();
  const killed = await another();
  await killed.call('ost.scrub', SLOW);
  killed.peer.destroy();
  // As soon as the end of its connection is known there.
  await sleep(100);
  await writer.call('ost.scrub', FAST);
  expect(await ended(writer)).toMatchObject({ checkedBytes: 16 * MiB, failure: '' });
});

test('anybody can cancel it, and it has ended when that is answered', async () => {
  const { writer, another } = await sealed();
  await writer.call('ost.scrub', SLOW);
  await sleep(300);
  const other = await another();
  const cancelled = other.call('ost.scrubCancel', {});
  // It runs until it has ended.
  expect(await jobOf(other)).toMatchObject({ running: true });
  await cancelled;
  const job = await jobOf(other);
  expect(job).toMatchObject({ running: false, failure: 'it was cancelled' });
  await sleep(1500);
  expect(await jobOf(other)).toEqual(job);
  await other.call('ost.scrubCancel', {});
});
