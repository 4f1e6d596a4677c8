import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, expect, test } from 'vitest';
import { BlockOp } from '../../../src/block/device.js';
import type { Volume } from '../../../src/client/index.js';
import { BLOCK, damaged, flip, protectedVolume, type Replica, scrub } from './damaged-volume.js';
import { ClientRig, expectBytes, flush, states, submit, until, write } from './rig.js';

/** Blocks that no replica has whole: they hold nothing up, and are wrong bytes nowhere (docs/consistency, Damage). */

let rig: ClientRig;
afterEach(() => rig.end());

const BAD = 4 * BLOCK + 600;
const DAMAGED = { code: 'CHECKSUM' };
const BLOCKS = [0, 1, 2, 3, 5, 6, 7];

async function begin(osts: number, replicas: number) {
  rig = await ClientRig.start(osts);
  return protectedVolume(rig, replicas);
}

const expectBad = async (volume: Volume, ostId: string) => {
  const error = await submit(volume, BlockOp.READ, 4 * BLOCK, BLOCK);
  expect(error).toMatchObject({ code: 'CHECKSUM', errno: 5 });
  expect(error!.where).toBe(`chunk 0 at ${4 * BLOCK} on OST ${ostId}`);
};

const expectOthers = async (volume: Volume) => {
  for (const block of BLOCKS) await expectBytes(volume, block * BLOCK, 0x10 + block);
};

async function replicaOn(ostId: string): Promise<Replica> {
  const peer = await rig.watched.get(ostId)!.connect('', [], 0);
  return { ostId, peer, file: '' };
}

async function moveAway(volume: Volume, from: string): Promise<string> {
  const { id } = volume.object;
  const { wanted } = await rig.cluster.mds.call('mds.move', { id, from, to: null, dryRun: false });
  await until(() => volume.status().recovered && volume.status().members.every((m) => m.ostId !== from));
  return wanted.to;
}

test('a move takes everything else along, and the block stays known as bad until it is written as a whole', async () => {
  const { volume, copies } = await begin(3, 1);
  flip(copies[0]!.file, BAD);
  const first = await moveAway(volume, copies[0]!.ostId);
  await expectOthers(volume);
  await expectBad(volume, first);
  // No hole for those who do not read holes.
  expect(await volume.extents(0, 8 * BLOCK)).toEqual([{ lengthBytes: 8 * BLOCK, hole: false, zero: false }]);
  await until(() => volume.status().damagedBlocks === 1);
  expect(volume.status().damaged).toEqual([{ ostId: first, offset: 4 * BLOCK }]);
  // From an OST that has only been told: it goes on being told.
  const second = await moveAway(volume, first);
  await expectOthers(volume);
  await expectBad(volume, second);
  await until(() => volume.status().damaged[0]?.ostId === second);
  // Of the one that has left nothing is counted any more.
  expect(volume.status().damagedBlocks).toBe(1);
  // A part of it, with seals, checksums and a restart after.
  await write(volume, 4 * BLOCK, 0x99, 512);
  await flush(volume);
  await volume.close();
  const replica = await replicaOn(second);
  await until(async () => (await scrub(replica.peer)).unsealedRegions === 0);
  await rig.stopOst(rig.indexOf(second));
  await rig.startOst(rig.indexOf(second));
  const again = await rig.cluster.openVolume('v', { mode: 'write' });
  await expectBad(again, second);
  expect(await damaged(await replicaOn(second))).toBe(1);
  await write(again, 4 * BLOCK, 0x77);
  await expectBytes(again, 4 * BLOCK, 0x77);
  expect(await damaged(await replicaOn(second))).toBe(0);
  await expectOthers(again);
  await again.close();
}, 60_000);

test('what is damaged in a snapshot is given up there alone: versions that have the block themselves go along whole', async () => {
  const { volume, copies } = await begin(3, 1);
  const over = async (name: string, byte: number) => {
    await volume.change({ kind: 'snapshot', name });
    await write(volume, 4 * BLOCK, byte);
    await flush(volume);
  };
  await over('monday', 0x55);
  await over('tuesday', 0x66);
  // One block that later versions have otherwise, and one that shows in all of them.
  flip(copies[0]!.file, BAD);
  flip(copies[0]!.file, 2 * BLOCK);
  const expectKept = async () => {
    const bytes = { monday: null, tuesday: 0x55, head: 0x66 };
    for (const [name, byte] of Object.entries(bytes)) {
      const reader = name === 'head' ? volume : await rig.cluster.openSnapshot('v', name);
      if (byte === null) expect(await submit(reader, BlockOp.READ, 4 * BLOCK, BLOCK)).toMatchObject(DAMAGED);
      else await expectBytes(reader, 4 * BLOCK, byte);
      expect(await submit(reader, BlockOp.READ, 2 * BLOCK, BLOCK)).toMatchObject(DAMAGED);
      for (const block of [0, 1, 3, 5, 6, 7]) await expectBytes(reader, block * BLOCK, 0x10 + block);
      if (reader !== volume) await reader.close();
    }
  };
  await expectKept();
  const first = await moveAway(volume, copies[0]!.ostId);
  await expectKept();
  // From one that has only been told of it.
  const second = await moveAway(volume, first);
  await expectKept();
  expect(await damaged(await replicaOn(second))).toBe(2);
  await volume.close();
}, 60_000);

test('damage on a replica that came by a move is repaired at once, while the volume is open', async () => {
  const { volume, copies } = await begin(3, 2);
  const to = await moveAway(volume, copies[0]!.ostId);
  const replica = await replicaOn(to);
  // What came by the move has checksums as soon as its region is sealed.
  await write(volume, 0, 0x10);
  await flush(volume);
  const file = join(rig.chunksOf(to, volume.object.id), '0.1');
  await until(async () => {
    const { unsealedRegions, checkedBytes } = await scrub(replica.peer);
    return unsealedRegions === 0 && checkedBytes > 0;
  });
  flip(file, BAD);
  expect(await scrub(replica.peer)).toMatchObject({ badBlocks: 1 });
  await until(async () => volume.status().repairedBlocks === 1 && (await damaged(replica)) === 0, 10_000);
  expect(readFileSync(file)[BAD]).toBe(0x14);
  await volume.close();
}, 60_000);

test('a returning replica that has the block keeps it, and the others get it from there', async () => {
  const { volume, copies } = await begin(2, 2);
  const away = rig.watched.get(copies[1]!.ostId)!;
  away.away = true;
  away.cut();
  await until(() => states(volume)[1] === 'stale');
  // Its region is to be copied as a whole.
  await write(volume, 7 * BLOCK, 0x55);
  flip(copies[0]!.file, BAD);
  await expectBad(volume, copies[0]!.ostId);
  away.away = false;
  await until(() => states(volume).every((state) => state === 'in-sync'));
  for (let turn = 0; turn < 4; turn++) await expectBytes(volume, 4 * BLOCK, 0x14);
  await expectBytes(volume, 7 * BLOCK, 0x55);
  await until(async () => (await damaged(copies[0]!)) === 0, 40_000);
  expect(volume.status().repairedBlocks).toBe(1);
  await volume.close();
}, 60_000);

test('a returning replica that has something older there keeps the block as bad', async () => {
  const { volume, copies } = await begin(2, 2);
  const away = rig.watched.get(copies[1]!.ostId)!;
  away.away = true;
  away.cut();
  await until(() => states(volume)[1] === 'stale');
  await write(volume, 4 * BLOCK, 0x66);
  await flush(volume);
  // As soon as what was written has a checksum.
  await until(async () => {
    await scrub(copies[0]!.peer);
    flip(copies[0]!.file, BAD);
    if ((await submit(volume, BlockOp.READ, 4 * BLOCK, BLOCK)) !== null) return true;
    flip(copies[0]!.file, BAD);
    return false;
  });
  away.away = false;
  await until(() => states(volume).every((state) => state === 'in-sync'));
  for (let turn = 0; turn < 4; turn++) {
    expect(await submit(volume, BlockOp.READ, 4 * BLOCK, BLOCK)).toMatchObject({ code: 'CHECKSUM' });
  }
  await expectOthers(volume);
  await write(volume, 4 * BLOCK, 0x67);
  for (let turn = 0; turn < 4; turn++) await expectBytes(volume, 4 * BLOCK, 0x67);
  await volume.close();
}, 60_000);

test('after an unclean end what is bad on all replicas holds up no other block of its region', async () => {
  const { volume, copies } = await begin(2, 2);
  await write(volume, 7 * BLOCK, 0x55);
  // Each has a block that the other has, and one that none has.
  for (const { file } of copies) flip(file, BAD);
  flip(copies[0]!.file, BLOCK);
  flip(copies[1]!.file, 2 * BLOCK);
  rig.forget(volume);
  const again = await rig.cluster.openVolume('v', { mode: 'write', force: true });
  await until(() => again.status().unreconciledRegions === 0);
  for (let turn = 0; turn < 4; turn++) {
    for (const block of [0, 1, 2, 3, 5, 6]) await expectBytes(again, block * BLOCK, 0x10 + block);
    expect(await submit(again, BlockOp.READ, 4 * BLOCK, BLOCK)).toMatchObject({ code: 'CHECKSUM' });
    await expectBytes(again, 7 * BLOCK, 0x55);
  }
  expect(await Promise.all(copies.map(damaged))).toEqual([1, 1]);
  await again.close();
}, 60_000);
