import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, expect, test } from 'vitest';
import { BlockOp, type BlockRequest } from '../../../src/block/index.js';
import { KiB } from '../../../src/common/units.js';
import type { VersionChange } from '../../../src/protocol/index.js';
import { Requests } from './requests.js';
import { FileRig } from './rig.js';

let rig: FileRig;
afterEach(() => rig.stop());
const requests = new Requests(() => rig);

/** With something else than zeros behind its end. */
async function dirtied(): Promise<void> {
  rig = new FileRig(64 * KiB, { sizeBytes: 100, modifiedWallMs: 1 });
  await rig.file.open(true);
}

/** What the volume is asked for. */
function watched(): string[] {
  const seen: string[] = [];
  const { volume } = rig;
  const { submit, change } = volume;
  volume.submit = (request: BlockRequest) => {
    const name = Object.entries(BlockOp).find(([, op]) => op === request.op)![0];
    seen.push(name);
    submit(request);
  };
  volume.change = (what: VersionChange) => {
    seen.push(what.kind);
    return change.call(volume, what);
  };
  return seen;
}

test('everybody who has a file open hears once that it could not be synced', async () => {
  await dirtied();
  const [one, two] = [rig.file.syncing.listener(), rig.file.syncing.listener()];
  rig.fault.setRules({ op: BlockOp.FLUSH, error: 'IO', probability: 1 });
  await expect(rig.file.syncing.syncFor(one)).rejects.toThrow();
  rig.fault.setRules();
  await rig.file.syncing.syncFor(one);
  await expect(rig.file.syncing.syncFor(two)).rejects.toThrow();
  await rig.file.syncing.syncFor(two);
  await rig.file.syncing.syncFor(rig.file.syncing.listener());
});

test('what only the mount has synced for itself, a program still hears of', async () => {
  await dirtied();
  await requests.write(100, Buffer.alloc(10, 1));
  const seen = watched();
  let flushes = 0;
  const { flush } = rig.volume;
  let go = () => {};
  rig.volume.flush = async () => {
    flushes++;
    await new Promise<void>((resolve) => {
      go = resolve;
    });
    await flush();
  };
  for (let i = 0; i < 3; i++) rig.file.syncing.syncQuietly();
  // One that waits is not asked for again; and none is told what a program has to hear.
  expect(flushes).toBe(1);
  go();
  while (rig.volume.file?.sizeBytes !== 110) await sleep(1);
  expect(seen).toEqual(['file']);
  const late = rig.file.syncing.listener();
  await requests.write(110, Buffer.alloc(10, 1));
  rig.volume.flush = () => Promise.reject(new Error('lost'));
  rig.file.syncing.syncQuietly();
  await sleep(1);
  await expect(rig.file.syncing.syncFor(late)).rejects.toThrow('lost');
});

test('a size is on record only when all of that is durable, zeros too', async () => {
  await dirtied();
  const seen = watched();
  await requests.write(10_000, Buffer.alloc(100, 1), true);
  expect(seen.slice(-2)).toEqual(['FLUSH', 'file']);
  expect(rig.volume.file?.sizeBytes).toBe(10_100);
  // What is written while a flush is under way is in no flush yet.
  rig.fault.setRules({ op: BlockOp.FLUSH, hold: true, probability: 1 });
  const synced = rig.file.sync();
  await sleep(1);
  await requests.write(10_100, Buffer.alloc(100, 1));
  await requests.write(0, Buffer.alloc(100, 1));
  rig.fault.setRules();
  rig.fault.release();
  await synced;
  expect(rig.volume.file?.sizeBytes).toBe(10_100);
});

test('zeros before a write past the end take nothing of another write', async () => {
  await dirtied();
  rig.fault.setRules({ op: BlockOp.WRITE, range: { offset: 0, length: 512 }, hold: true, probability: 1 });
  const behind = requests.write(10_000, Buffer.alloc(10, 9));
  await sleep(5);
  rig.fault.setRules();
  const within = requests.write(0, Buffer.alloc(50, 5));
  await sleep(5);
  rig.fault.release();
  await Promise.all([behind, within]);
  expect(await requests.read(0, 101)).toEqual(Buffer.concat([Buffer.alloc(50, 5), Buffer.alloc(51)]));
});

test('a size that somebody else has put on record is mended by the next sync', async () => {
  await dirtied();
  await requests.write(100, Buffer.alloc(100, 1), true);
  rig.volume.file = { sizeBytes: 100, modifiedWallMs: 5 };
  await rig.file.sync();
  expect(rig.volume.file).toMatchObject({ sizeBytes: 200 });
});
