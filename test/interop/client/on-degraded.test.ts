import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { BlockOp } from '../../../src/block/device.js';
import type { Cluster } from '../../../src/client/index.js';
import { placeChunkOf } from '../../../src/common/placement.js';
import { MiB } from '../../../src/common/units.js';
import { mapAnonymous } from '../../../src/io/index.js';
import { Opcode } from '../../../src/protocol/index.js';
import { ClientRig, expectBytes, flush, isSettled, readByte, states, submit, until, write } from './rig.js';

/** What I/O does while too few replicas are there (docs/consistency, I6): it waits, or fails where the volume says so. */

let rig: ClientRig;
let cluster: Cluster;
beforeEach(async () => {
  rig = await ClientRig.start();
  cluster = await rig.connect('hasty', { confirmMs: 200, degradedGraceMs: 500 });
});
afterEach(async () => {
  await cluster.close();
  await rig.end();
});

describe('policy pause', () => {
  test('writes below the least number of replicas wait, and go on when the missing one is in sync again', async () => {
    await rig.create('v', { minReplicas: 2 });
    const volume = await cluster.openVolume('v', { mode: 'write' });
    const [, second] = rig.ostsOf(volume);
    for (let at = 0; at < 4; at++) await write(volume, at * 4096, 1);
    // Some are under way when it goes, on the first replica already; others come while it is away.
    second!.holds = (op) => op.opcode === Opcode.WRITE;
    const writing = (at: number, byte: number) =>
      submit(volume, BlockOp.WRITE, at * 4096, 4096, byte, mapAnonymous(4096));
    const sent = [writing(0, 2), writing(1, 2)];
    await until(() => second!.held === 2);
    second!.away = true;
    second!.cut();
    second!.holds = () => false;
    await until(() => states(volume)[1] === 'stale');
    const late = [writing(2, 3), writing(3, 3)];
    // Nobody was told that a write is done: the old contents or the new ones, but they can be read.
    expect([1, 2]).toContain(await readByte(volume, 0));
    expect(await isSettled(Promise.race([...sent, ...late]))).toBe(false);
    second!.away = false;
    expect(await Promise.all([...sent, ...late])).toEqual([null, null, null, null]);
    expect(states(volume)).toEqual(['in-sync', 'in-sync']);
    for (let i = 0; i < 2; i++) {
      for (const [at, byte] of [2, 2, 3, 3].entries()) await expectBytes(volume, at * 4096, byte);
    }
    await volume.close();
  });

  test('a volume is closed although writes wait for a replica, which fail then', async () => {
    await rig.create('v', { minReplicas: 2 });
    const volume = await cluster.openVolume('v', { mode: 'write' });
    const [, second] = rig.ostsOf(volume);
    second!.away = true;
    second!.cut();
    const writing = submit(volume, BlockOp.WRITE, 0, 4096, 2);
    await until(() => states(volume)[1] === 'stale');
    await volume.close();
    expect(await writing).toMatchObject({ code: 'UNAVAILABLE' });
  });
});

describe('policy error', () => {
  test('writes fail below the least number of replicas, reads and flushes go on', async () => {
    await rig.create('v', { minReplicas: 2, onDegraded: 'error' });
    const volume = await cluster.openVolume('v', { mode: 'write' });
    await write(volume, 0, 1);
    const [, second] = rig.ostsOf(volume);
    second!.away = true;
    second!.cut();
    expect(await submit(volume, BlockOp.WRITE, 0, 4096, 2)).toMatchObject({ code: 'UNAVAILABLE' });
    expect([1, 2]).toContain(await readByte(volume, 0));
    await flush(volume);
    second!.away = false;
    await until(() => states(volume).every((state) => state === 'in-sync'));
    await write(volume, 0, 3);
    await expectBytes(volume, 0, 3);
    await volume.close();
  });

  test('all I/O fails while no set can be recorded; then the replicas are alike', async () => {
    await rig.create('v', { onDegraded: 'error' });
    const volume = await cluster.openVolume('v', { mode: 'write' });
    await write(volume, 0, 1);
    const [first, second] = rig.ostsOf(volume);
    const { epoch } = volume.status();
    await rig.stopMds();
    second!.away = true;
    // Both have the write under way when one of them goes.
    second!.holds = () => true;
    const writing = submit(volume, BlockOp.WRITE, 0, 4096, 2);
    await until(() => second!.held > 0);
    second!.cut();
    expect(await writing).toMatchObject({ code: 'UNAVAILABLE' });
    expect(await submit(volume, BlockOp.READ, 0, 4096)).toMatchObject({ code: 'UNAVAILABLE' });
    await rig.startMds();
    second!.release();
    second!.away = false;
    // It leaves the set, and joins it again.
    await until(() => volume.status().epoch === epoch + 2);
    await until(() => states(volume).every((state) => state === 'in-sync'));
    const byte = await readByte(volume, 0);
    for (let i = 0; i < 4; i++) await expectBytes(volume, 0, byte);
    first!.away = true;
    first!.cut();
    await expectBytes(volume, 0, byte);
    first!.away = false;
    await volume.close();
  });

  test('a write that failed while all replicas were away is on all of them afterwards, or on none', async () => {
    await rig.create('v', { onDegraded: 'error' });
    const volume = await cluster.openVolume('v', { mode: 'write' });
    const osts = rig.ostsOf(volume);
    osts[1]!.holds = (op) => op.opcode === Opcode.WRITE;
    const writing = submit(volume, BlockOp.WRITE, 0, 4096, 2);
    const peer = await osts[0]!.connect('', [], 0);
    const usage = { objectId: volume.object.id };
    await until(async () => (await peer.call('ost.usage', usage)).allocatedBytes === 4096);
    for (const ost of osts) {
      ost.away = true;
      ost.cut();
    }
    expect(await writing).toMatchObject({ code: 'UNAVAILABLE' });
    osts[1]!.release();
    for (const ost of osts) ost.away = false;
    await until(async () => (await submit(volume, BlockOp.READ, 0, 4096)) === null);
    const byte = await readByte(volume, 0);
    for (let i = 0; i < 4; i++) await expectBytes(volume, 0, byte);
    expect(states(volume)).toEqual(['in-sync', 'in-sync']);
    await volume.close();
  });

  test.each([
    ['write', BlockOp.WRITE, Opcode.WRITE],
    ['flush', BlockOp.FLUSH, Opcode.FLUSH],
  ])('a %s whose replica is lost while another has been away for longer fails', async (_, op, opcode) => {
    // All have confirmed the session: nothing but the replica's own answer is missing.
    const sure = await rig.connect('sure', { confirmMs: 4000, degradedGraceMs: 500 });
    await rig.create('v', { replicas: 1, stripeWidth: 2, onDegraded: 'error', sizeBytes: 128 * MiB });
    const volume = await sure.openVolume('v', { mode: 'write' });
    const [a, b] = rig.ostsOf(volume);
    const placed = Array.from({ length: 32 }, (_, chunk) => placeChunkOf(volume.object, chunk)[0]);
    const [onA, onB] = volume.object.members.map(({ ostId }) => placed.indexOf(ostId) * 4 * MiB);
    await write(volume, onA!, 1);
    b!.away = true;
    b!.cut();
    expect(await submit(volume, BlockOp.READ, onB, 4096)).toMatchObject({ code: 'UNAVAILABLE' });
    a!.holds = (sent) => sent.opcode === opcode;
    const asking = submit(volume, op, onA, 4096, 2, mapAnonymous(4096));
    await until(() => a!.held === 1);
    a!.away = true;
    a!.cut();
    expect(await asking).toMatchObject({ code: 'UNAVAILABLE' });
    a!.release();
    a!.away = false;
    b!.away = false;
    await until(async () => (await submit(volume, BlockOp.READ, onA, 4096)) === null);
    await expectBytes(volume, onA!, 1);
    await flush(volume);
    await volume.close();
    await sure.close();
  });
});
