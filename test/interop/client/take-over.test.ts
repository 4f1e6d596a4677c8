import { afterEach, beforeEach, expect, test } from 'vitest';
import { BlockOp } from '../../../src/block/device.js';
import { RawstorError } from '../../../src/common/errors.js';
import { MiB } from '../../../src/common/units.js';
import { Opcode } from '../../../src/protocol/index.js';
import { ClientRig, expectBytes, flush, submit, until, write } from './rig.js';

/** Two writers on one volume (docs/consistency, I4, I5): the second takes it by force from one that lives. */

let rig: ClientRig;
beforeEach(async () => {
  rig = await ClientRig.start(2);
});
afterEach(() => rig.end());

/** A writer that hears nothing from the MDS: only the fences of the OSTs can stop it. */
async function writer(name: string, deaf: boolean) {
  const cluster = await rig.connect(name);
  const volume = await cluster.openVolume('v', { mode: 'write', holder: name });
  const { mds } = cluster;
  const call = mds.call.bind(mds);
  if (deaf) mds.call = () => new Promise(() => {});
  const hears = () => {
    mds.call = call;
  };
  const ended: RawstorError[] = [];
  volume.onFatal = (error) => void ended.push(error);
  return { cluster, volume, ended, hears };
}

test.each([
  ['told by the MDS', false],
  ['told by the OSTs alone', true],
])('the first is served nothing more, also across restarts of OSTs: %s', async (_how, deaf) => {
  await rig.create('v');
  const first = await writer('first', deaf);
  for (let chunk = 0; chunk < 4; chunk++) await write(first.volume, chunk * 4 * MiB, 1);

  const other = await rig.connect('second');
  await expect(other.openVolume('v', { mode: 'write', holder: 'second' })).rejects.toMatchObject({
    code: 'BUSY',
  });
  const second = await other.openVolume('v', { mode: 'write', holder: 'second', force: true });
  await write(second, 0, 2);
  // Whatever the first is asked from here on is refused, and by that name.
  const refused = async () => {
    for (const op of [BlockOp.READ, BlockOp.WRITE, BlockOp.FLUSH, BlockOp.DISCARD]) {
      const error = await submit(first.volume, op, 0, op === BlockOp.FLUSH ? 0 : 4096, 1);
      expect(error, `operation ${op}`).toBeInstanceOf(RawstorError);
      expect(error!.code).toBe('FENCED');
    }
  };
  await refused();
  expect(first.ended).toMatchObject([{ code: 'FENCED' }]);

  const { object } = first.volume;
  const stale = { epoch: first.volume.object.epoch, number: 1000 };
  for (let index = 0; index < 2; index++) {
    await rig.stopOst(index);
    await rig.startOst(index);
    // Its own session, by a new attach, to write or to read.
    const ostId = object.members[index]!.ostId;
    const peer = await rig.watched.get(ostId)!.connect(ostId, [], 1000);
    const attach = { object, sessionEpoch: stale.epoch, sessionNumber: stale.number };
    await expect(peer.call('ost.attach', attach)).rejects.toMatchObject({ code: 'FENCED' });
    const reader = { objectId: object.id, sessionEpoch: stale.epoch };
    await expect(peer.call('ost.attachReader', reader)).rejects.toMatchObject({ code: 'FENCED' });
    peer.destroy();
    await refused();
    await until(() =>
      second.status().members.every((member) => member.state === 'in-sync' && member.attached),
    );
    await expectBytes(second, 0, 2);
  }
  await flush(second);
  await second.close();
  first.hears();
  await first.volume.close();
  // Nothing of the first has come in behind.
  const again = await other.openVolume('v', { mode: 'write', holder: 'second' });
  for (let chunk = 0; chunk < 4; chunk++) await expectBytes(again, chunk * 4 * MiB, chunk === 0 ? 2 : 1);
  await again.close();
  await other.close();
  await first.cluster.close();
});

test('a write on its way when the second comes is not acknowledged', async () => {
  await rig.create('v');
  const first = await writer('first', true);
  await write(first.volume, 0, 1);
  const osts = rig.ostsOf(first.volume);
  // It reaches the OSTs only after the second has attached everywhere.
  for (const ost of osts) ost.holds = (op) => op.opcode === Opcode.WRITE;
  const writing = submit(first.volume, BlockOp.WRITE, 0, 4096, 7);
  const other = await rig.connect('second');
  const second = await other.openVolume('v', { mode: 'write', holder: 'second', force: true });
  for (const ost of osts) ost.release();
  expect((await writing)?.code).toBe('FENCED');
  await second.close();
  await other.close();
  first.hears();
  await first.volume.close();
  await first.cluster.close();
});
