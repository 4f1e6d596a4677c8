import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { BlockOp } from '../../../src/block/device.js';
import { MiB } from '../../../src/common/units.js';
import { Opcode } from '../../../src/protocol/index.js';
import { ClientRig, expectBytes, flush, submit, until, write } from './rig.js';

/** What a flush promises (docs/consistency, I10, I8), told by what reaches the OSTs. */

let rig: ClientRig;
beforeEach(async () => {
  rig = await ClientRig.start();
});
afterEach(() => rig.end());

describe('a flush', () => {
  test('covers a write that was on its way when the flush before it began', async () => {
    await rig.create('v');
    const volume = await rig.cluster.openVolume('v', { mode: 'write' });
    const osts = rig.ostsOf(volume);
    for (const ost of osts) ost.holds = (op) => op.opcode === Opcode.WRITE;
    const writing = submit(volume, BlockOp.WRITE, 0, 4096, 1);
    await until(() => osts.every((ost) => ost.held === 1));
    await flush(volume);
    for (const ost of osts) ost.release();
    expect(await writing).toBeNull();
    const before = osts.map((ost) => ost.count(Opcode.FLUSH));
    await flush(volume);
    expect(osts.map((ost, i) => ost.count(Opcode.FLUSH) - before[i]!)).toEqual([1, 1]);
    // Nothing is dirty now: the next one asks nobody.
    await flush(volume);
    expect(osts.map((ost, i) => ost.count(Opcode.FLUSH) - before[i]!)).toEqual([1, 1]);
    await volume.close();
  });

  test('covers what an earlier gateway of the same guest acknowledged', async () => {
    await rig.create('v');
    const first = await rig.cluster.openVolume('v', { mode: 'write', holder: 'gateway' });
    await write(first, 0, 1);
    const second = await rig.cluster.openVolume('v', { mode: 'write', holder: 'gateway' });
    const osts = rig.ostsOf(second);
    const before = osts.map((ost) => ost.count(Opcode.FLUSH));
    await flush(second);
    expect(osts.map((ost, i) => ost.count(Opcode.FLUSH) - before[i]!)).toEqual([1, 1]);
    await second.close();
    await first.close();
  });

  test('covers what a repair has copied', async () => {
    await rig.create('v');
    const first = await rig.cluster.openVolume('v', { mode: 'write', holder: 'gateway' });
    for (let at = 0; at < 4; at++) await write(first, at * 4 * MiB, 1);
    // Copies are ordered only after the first flush.
    let flushed = () => {};
    const mayCopy = new Promise<void>((resolve) => {
      flushed = resolve;
    });
    for (const ost of rig.watched.values()) {
      ost.beforeCall = (method) => (method === 'ost.copy' ? mayCopy : Promise.resolve());
    }
    const second = await rig.cluster.openVolume('v', { mode: 'write', holder: 'gateway' });
    const osts = rig.ostsOf(second);
    await flush(second);
    expect(second.status().unreconciledRegions).toBe(4);
    const before = osts.map((ost) => ost.count(Opcode.FLUSH));
    flushed();
    await until(() => second.status().unreconciledRegions === 0);
    await flush(second);
    expect(osts.map((ost, i) => ost.count(Opcode.FLUSH) - before[i]!)).toContain(1);
    await second.close();
    await first.close();
  });

  test('on its way when the only replica loses power fails, and the loss is on record', async () => {
    await rig.create('v', { replicas: 1 });
    const volume = await rig.cluster.openVolume('v', { mode: 'write' });
    const [ost] = rig.ostsOf(volume);
    await write(volume, 0, 1);
    ost!.holds = (op) => op.opcode === Opcode.FLUSH;
    const flushing = submit(volume, BlockOp.FLUSH);
    await until(() => ost!.held === 1);
    ost!.holds = () => false;
    ost!.losses = 1;
    ost!.cut();
    expect(await flushing).toMatchObject({ code: 'LOSS' });
    expect((await rig.object('v')).lossWallMs).not.toBeNull();
    // Told once; what is written from here on is durable again.
    await write(volume, 0, 2);
    await flush(volume);
    await expectBytes(volume, 0, 2);
    await volume.close();
  });

  test('fails for a loss that an earlier gateway of the guest recorded and did not live to tell, once', async () => {
    const gateway = { mode: 'write', holder: 'gateway' } as const;
    await rig.create('v', { replicas: 1 });
    const first = await rig.cluster.openVolume('v', gateway);
    const [ost] = rig.ostsOf(first);
    await write(first, 0, 1);
    ost!.losses = 1;
    ost!.cut();
    await until(async () => (await rig.object('v')).lossWallMs !== null);
    const second = await rig.cluster.openVolume('v', gateway);
    await write(second, 0, 2);
    expect(await submit(second, BlockOp.FLUSH)).toMatchObject({ code: 'LOSS' });
    await flush(second);
    await second.close();
    const third = await rig.cluster.openVolume('v', gateway);
    await write(third, 0, 3);
    await flush(third);
    expect((await rig.object('v')).lossWallMs).not.toBeNull();
    await third.close();
    await first.close();
  });
});

test('a loss of nothing is no loss', async () => {
  await rig.create('v', { replicas: 1 });
  const volume = await rig.cluster.openVolume('v', { mode: 'write' });
  const [ost] = rig.ostsOf(volume);
  await write(volume, 0, 1);
  await flush(volume);
  ost!.losses = 1;
  ost!.cut();
  await write(volume, 0, 2);
  await flush(volume);
  expect((await rig.object('v')).lossWallMs).toBeNull();
  await volume.close();
});
