import { readFileSync } from 'node:fs';
import { afterEach, expect, test } from 'vitest';
import { BlockOp } from '../../../src/block/device.js';
import { MiB } from '../../../src/common/units.js';
import { BLOCK, damaged, flip, protectedVolume, type Replica, scrub } from './damaged-volume.js';
import { ClientRig, expectBytes, submit, until, write } from './rig.js';

/** Bits that change in the chunk files of real OSTs, under an open volume. */

let rig: ClientRig;
afterEach(() => rig.end());

async function begin(replicas: number) {
  rig = await ClientRig.start(replicas);
  return protectedVolume(rig, replicas);
}

const sealedThrough = async ({ peer }: Replica) =>
  (await peer.call('ost.objects', { after: null })).objects[0]!.lastSeal;

test('a read of a damaged block gets the right bytes from the other replica, and mends it', async () => {
  const { volume, copies } = await begin(2);
  flip(copies[0]!.file, 2 * BLOCK + 100);
  flip(copies[1]!.file, 6 * BLOCK + 4095);
  // By turns from the one and the other, not always in step; a read that meets damage takes two turns.
  for (let round = 0; round < 8; round++) {
    for (let more = round % 3; more >= 0; more--) await expectBytes(volume, 0, 0x10);
    for (let block = 0; block < 8; block++) await expectBytes(volume, block * BLOCK, 0x10 + block);
  }
  await until(() => volume.status().repairedBlocks === 2);
  for (const copy of copies) expect(await damaged(copy)).toBe(0);
  expect(readFileSync(copies[0]!.file).equals(readFileSync(copies[1]!.file))).toBe(true);
  expect(readFileSync(copies[0]!.file)[2 * BLOCK + 100]).toBe(0x12);
  expect(volume.status()).toMatchObject({ damagedBlocks: 0 });
  await volume.close();
});

test('what a scrub finds is mended by the writer, without a read, and is protected again', async () => {
  const { volume, copies } = await begin(2);
  for (let time = 1; time <= 2; time++) {
    await until(async () => (await sealedThrough(copies[1]!)) >= volume.object.epoch - 1);
    const { epoch } = volume.object;
    flip(copies[1]!.file, 3 * BLOCK);
    const job = await scrub(copies[1]!.peer);
    expect(job).toMatchObject({ badBlocks: 1, failure: '' });
    expect(job.checkedBytes).toBeGreaterThanOrEqual(8 * BLOCK);
    await until(async () => volume.status().repairedBlocks === time && (await damaged(copies[1]!)) === 0);
    expect(readFileSync(copies[1]!.file)[3 * BLOCK]).toBe(0x13);
    // The repair counts as a write: its block has no checksum before the next seal, and its OST has been told of that.
    await until(async () => (await sealedThrough(copies[1]!)) >= epoch);
    await until(async () => (await scrub(copies[1]!.peer)).unsealedRegions === 0);
  }
  expect((await copies[1]!.peer.call('ost.stat', {})).integrity).toMatchObject({
    damagedBlocks: 0,
    foundTotal: 2,
    repairedTotal: 2,
  });
  expect(await scrub(copies[0]!.peer)).toMatchObject({ badBlocks: 0, failure: '' });
  await volume.close();
});

test('damage found while nobody has the volume open is mended by the next who opens it', async () => {
  const { volume, copies } = await begin(2);
  await volume.close();
  flip(copies[0]!.file, 7 * BLOCK + 8);
  expect(await scrub(copies[0]!.peer)).toMatchObject({ badBlocks: 1 });
  const again = await rig.cluster.openVolume('v', { mode: 'write' });
  await until(async () => again.status().repairedBlocks === 1 && (await damaged(copies[0]!)) === 0);
  expect(readFileSync(copies[0]!.file)[7 * BLOCK + 8]).toBe(0x17);
  await again.close();
});

test('with a single replica the read fails and says where, until the block is written anew', async () => {
  const { volume, copies } = await begin(1);
  flip(copies[0]!.file, 4 * BLOCK + 600);
  const error = await submit(volume, BlockOp.READ, 0, 8 * BLOCK);
  expect(error).toMatchObject({ code: 'CHECKSUM', errno: 5 });
  expect(error!.where).toContain(`chunk 0 at ${4 * BLOCK} on OST ${copies[0]!.ostId}`);
  // A part of the block that is right says nothing of the rest.
  expect(await submit(volume, BlockOp.READ, 4 * BLOCK, 512)).toMatchObject({ code: 'CHECKSUM' });
  await expectBytes(volume, 3 * BLOCK, 0x13);
  await until(() => volume.status().damagedBlocks === 1);
  await write(volume, 4 * BLOCK, 0x77);
  await expectBytes(volume, 4 * BLOCK, 0x77);
  expect(await damaged(copies[0]!)).toBe(0);
  await volume.close();
});

test('a block that is damaged on every replica is told of, and nothing wrong is spread', async () => {
  const { volume, copies } = await begin(2);
  for (const { file } of copies) flip(file, BLOCK);
  for (let turn = 0; turn < 4; turn++) {
    expect(await submit(volume, BlockOp.READ, BLOCK, BLOCK)).toMatchObject({ code: 'CHECKSUM' });
  }
  await until(() => volume.status().damagedBlocks === 2);
  expect(volume.status().members.map(({ state }) => state)).toEqual(['in-sync', 'in-sync']);
  expect(volume.status()).toMatchObject({ repairedBlocks: 0 });
  await expectBytes(volume, 0, 0x10);
  await volume.close();
});

test('an OST without checksums gives what is there', async () => {
  rig = await ClientRig.start(1, { checksums: false });
  await rig.create('v', { replicas: 1 });
  const volume = await rig.cluster.openVolume('v', { mode: 'write' });
  await write(volume, 0, 1);
  const peer = await rig.watched.get(volume.object.members[0]!.ostId)!.connect('', [], 0);
  expect((await peer.call('ost.stat', {})).integrity).toBeNull();
  await expect(peer.call('ost.scrub', { objectId: null, bytesPerSec: MiB })).rejects.toMatchObject({
    code: 'NOT_SUPPORTED',
  });
  await volume.close();
});
