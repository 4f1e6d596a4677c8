import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { BlockOp } from '../../../src/block/device.js';
import type { Membership } from '../../../src/client/membership.js';
import { MiB } from '../../../src/common/units.js';
import { Opcode } from '../../../src/protocol/index.js';
import { ClientRig, expectBytes, isSettled, readByte, states, submit, until, write } from './rig.js';

/** What a client keeps up beside its data: its lease, its set, and a takeover's findings. */

let rig: ClientRig;
beforeEach(async () => {
  rig = await ClientRig.start();
});
afterEach(() => rig.end());

test('a lease is renewed as soon as the MDS is back, not when its time comes', async () => {
  await rig.create('v');
  await rig.stopMds();
  await rig.startMds(3_600_000);
  const volume = await rig.cluster.openVolume('v', { mode: 'write' });
  await rig.stopMds();
  await rig.startMds(3_600_000);
  const other = await rig.connect('other');
  await until(async () => (await other.mds.call('mds.stat', {})).leases === 1);
  await other.close();
  await volume.close();
});

describe('a takeover', () => {
  test.each([
    { why: 'that can be listed', failures: 0 },
    { why: 'of which only half is listed', failures: 1 },
  ])('makes replicas equal where one has a write the other has not: one $why', async ({ failures }) => {
    await rig.create('v');
    const first = await rig.cluster.openVolume('v', { mode: 'write', holder: 'one' });
    await write(first, 0, 1);
    const [without, having] = rig.ostsOf(first);
    without!.holds = (op) => op.opcode === Opcode.WRITE;
    // In a region of which the one without it knows nothing.
    const writing = submit(first, BlockOp.WRITE, 8 * MiB, 4096, 2);
    const peer = await having!.connect('', [], 0);
    const usage = { objectId: first.object.id };
    await until(async () => (await peer.call('ost.usage', usage)).allocatedBytes === 2 * 4096);
    expect(without!.held).toBe(1);
    let left = failures;
    having!.beforeCall = async (method) => {
      if (method === 'ost.regions' && left-- > 0) throw new Error('no list today');
    };
    const second = await rig.cluster.openVolume('v', { mode: 'write', holder: 'two', force: true });
    without!.release();
    expect(await writing).toMatchObject({ code: 'FENCED' });
    const byte = await readByte(second, 8 * MiB);
    await until(() => states(second).every((state) => state === 'in-sync'));
    // By turns from the one and the other.
    for (let i = 0; i < 6; i++) await expectBytes(second, 8 * MiB, byte);
    await second.close();
    await first.close();
  });
});

test('a change asked for at the very end of the one before is not forgotten', async () => {
  await rig.create('v');
  const volume = await rig.cluster.openVolume('v', { mode: 'write' });
  const membership = (volume as unknown as { membership: Membership }).membership;
  for (let turns = 0; turns < 20; turns++) {
    await membership.seal();
    for (let i = 0; i < turns; i++) await null;
    expect(await isSettled(membership.seal(), 5000), `${turns} turns after the end`).toBe(true);
  }
  await volume.close();
});
