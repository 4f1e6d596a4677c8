import { afterEach, expect, test } from 'vitest';
import { BlockOp } from '../../../src/block/device.js';
import { BLOCK, damaged, protectedVolume, scrub } from './damaged-volume.js';
import { ClientRig, expectBytes, states, submit, until, write } from './rig.js';

/** A sector that one disk cannot read any more: the commonest way in which disks fail. */

let rig: ClientRig;
let badFile: string | null;
afterEach(() => rig.end());

const BAD = 4 * BLOCK + 512;
const EIO = -5;

async function begin(osts: number) {
  badFile = null;
  rig = await ClientRig.start(
    osts,
    {},
    {
      readResult: (file, { fileOffset, slices }) =>
        file.path === badFile && fileOffset <= BAD && fileOffset + slices.lengthBytes > BAD ? EIO : null,
    },
  );
  return protectedVolume(rig, 2);
}

test('is written anew from another replica, and readers get what that one has', async () => {
  const { volume, copies } = await begin(2);
  badFile = copies[0]!.file;
  for (let turn = 0; turn < 6; turn++) await expectBytes(volume, 4 * BLOCK, 0x14);
  await until(() => volume.status().repairedBlocks > 0);
  // A disk puts it elsewhere when it is written.
  badFile = null;
  expect(await damaged(copies[0]!)).toBe(0);
  await volume.close();
}, 60_000);

test('holds up neither the replacement of the other replica nor a scrub', async () => {
  const { volume, copies } = await begin(3);
  const [kept, gone] = copies;
  const away = rig.watched.get(gone!.ostId)!;
  away.away = true;
  away.cut();
  await until(() => states(volume).includes('stale'));
  // So that the region has to be copied as one that nothing protects.
  await write(volume, 7 * BLOCK, 0x55);
  badFile = kept!.file;
  await rig.cluster.mds.call('mds.move', {
    id: volume.object.id,
    from: gone!.ostId,
    to: null,
    dryRun: false,
  });
  await until(() => volume.status().recovered, 40_000);
  expect(states(volume)).toEqual(['in-sync', 'in-sync']);
  expect(volume.status().members.some(({ ostId }) => ostId === gone!.ostId)).toBe(false);
  for (let turn = 0; turn < 4; turn++) {
    expect(await submit(volume, BlockOp.READ, 4 * BLOCK, BLOCK)).toMatchObject({
      code: 'CHECKSUM',
      errno: 5,
    });
    for (const block of [0, 1, 2, 3, 5, 6]) await expectBytes(volume, block * BLOCK, 0x10 + block);
    await expectBytes(volume, 7 * BLOCK, 0x55);
  }
  expect(await scrub(kept!.peer)).toMatchObject({ failure: '', badBlocks: 1 });
  await until(() => volume.status().damagedBlocks > 0);
  await volume.close();
}, 90_000);
