import { afterEach, beforeEach, expect, test } from 'vitest';
import { BlockOp } from '../../../src/block/device.js';
import type { Cluster, HeadReader } from '../../../src/client/index.js';
import { systemClock } from '../../../src/common/clock.js';
import { MiB } from '../../../src/common/units.js';
import { Store } from '../../../src/fuse/store.js';
import { Opcode } from '../../../src/protocol/index.js';
import { ClientRig, expectBytes, flush, readByte, submit, until, write } from './rig.js';

/** Who reads a volume without its lease, while others write it or nobody does. */

let rig: ClientRig;
/** Another client, which has connections of its own. */
let beside: Cluster;
let reader: HeadReader | null = null;

beforeEach(async () => {
  rig = await ClientRig.start(2);
  await rig.create('v');
  beside = await rig.connect('reader', { localOsts: new Map() });
});

afterEach(async () => {
  await reader?.close();
  reader = null;
  await beside.close();
  await rig.end();
});

const open = () => rig.cluster.openVolume('v', { mode: 'write', holder: 'writer' });
/** What the metadata server said is relied on for so long. */
const outdated = () => systemClock.sleep(1100);

test('reads what nobody has opened, what is being written, and what was', async () => {
  reader = await beside.openHead('v');
  await expectBytes(reader, 0, 0);
  const volume = await open();
  await write(volume, 0, 5);
  await outdated();
  await expectBytes(reader, 0, 5);
  await write(volume, 0, 6);
  await expectBytes(reader, 0, 6);
  expect(await submit(reader, BlockOp.WRITE, 0, 4096)).toMatchObject({ code: 'READ_ONLY' });
  expect(await reader.extents(0, MiB)).toMatchObject([{ lengthBytes: 4096, hole: false }, { hole: true }]);
  await volume.close();
  await expectBytes(reader, 0, 6);
  const again = await open();
  await write(again, 0, 7);
  await outdated();
  await expectBytes(reader, 0, 7);
  await again.close();
});

test('an OST that leaves the set while the reader connects to it is not read', async () => {
  const volume = await open();
  await write(volume, 0, 1);
  await flush(volume);
  // Ways of its own, so that the writer alone loses one.
  const ways = new Map([...rig.watched].map(([id, ost]) => [id, ost.way()]));
  let connecting = '';
  let proceed = () => {};
  const mayConnect = new Promise<void>((resolve) => {
    proceed = resolve;
  });
  for (const [id, way] of ways) {
    way.beforeCall = async (method) => {
      if (method !== 'ost.attachReader' || connecting !== '') return;
      connecting = id;
      await mayConnect;
    };
  }
  const cluster = await rig.connect('slow', { localOsts: ways });
  reader = await cluster.openHead('v');
  const reading = expectBytes(reader, 0, 2);
  await until(() => connecting !== '');
  const lost = rig.watched.get(connecting)!;
  lost.away = true;
  lost.cut();
  await write(volume, 0, 2);
  await outdated();
  proceed();
  await reading;
  lost.away = false;
  await reader.close();
  reader = null;
  await cluster.close();
  await volume.close();
});

test('goes on over a snapshot and another size, a second later', async () => {
  const volume = await open();
  await write(volume, 0, 1);
  reader = await beside.openHead('v');
  await expectBytes(reader, 0, 1);
  await volume.change({ kind: 'snapshot', name: 's' });
  await write(volume, 0, 2);
  await volume.change({ kind: 'resize', sizeBytes: 32 * MiB });
  await write(volume, 20 * MiB, 3);
  await outdated();
  await expectBytes(reader, 0, 2);
  await expectBytes(reader, 20 * MiB, 3);
  expect(reader.sizeBytes).toBe(32 * MiB);
  await volume.close();
});

test('reads nothing old from an OST that has left the set, though that one still answers it', async () => {
  const volume = await open();
  await write(volume, 0, 1);
  await flush(volume);
  reader = await beside.openHead('v');
  // By turns: both have a session.
  for (let i = 0; i < 4; i++) await expectBytes(reader, 0, 1);
  const [lost] = rig.ostsOf(volume);
  lost!.away = true;
  lost!.cut();
  await write(volume, 0, 2);
  await until(async () => (await rig.object('v')).members.some((member) => member.state === 'stale'));
  await outdated();
  const seen = new Set<number>();
  for (let i = 0; i < 10; i++) seen.add(await readByte(reader, 0));
  expect([...seen]).toEqual([2]);
  lost!.away = false;
  await volume.close();
});

test('is refused, and ended, after a writer that died: the replicas may differ', async () => {
  const volume = await open();
  await write(volume, 0, 1);
  reader = await beside.openHead('v');
  const ended = new Promise((resolve) => {
    reader!.onFatal = resolve;
  });
  rig.forget(volume);
  await rig.cluster.close();
  await until(async () => (await beside.mds.call('mds.getObj', { ref: 'v' })).lease === null);
  await outdated();
  expect(await submit(reader, BlockOp.READ, 0, 4096)).toMatchObject({ code: 'NOT_FOUND' });
  expect(await ended).toMatchObject({ code: 'NOT_FOUND' });
  await expect(beside.openHead('v')).rejects.toThrow('did not close it');
});

const layout = {} as ConstructorParameters<typeof Store>[0]['layout'];
const storeOf = (cluster: Cluster) =>
  new Store({ cluster, clock: systemClock, layout, encryptionOf: null, holder: 'a mount', timeoutMs: 5000 });

test('takes nothing from a writer that only the metadata server does not hear of', async () => {
  const writing = await rig.connect('writing');
  const volume = await writing.openVolume('v', { mode: 'write', holder: 'writer' });
  const fatal: unknown[] = [];
  volume.onFatal = (error) => fatal.push(error);
  await write(volume, 0, 1);
  reader = await beside.openHead('v');
  await expectBytes(reader, 0, 1);
  writing.mds.close();
  await until(async () => (await rig.object('v')).lease === null);
  await outdated();
  await expectBytes(reader, 0, 1);
  await write(volume, 0, 2);
  await expectBytes(reader, 0, 2);
  const ends: number[] = [];
  const fresh = await storeOf(beside).openRead((await rig.object('v')).id, () => ends.push(1));
  await expectBytes(fresh, 0, 2);
  await write(volume, 0, 3);
  await expectBytes(fresh, 0, 3);
  expect([fatal, ends]).toEqual([[], []]);
  await fresh.close();
  rig.forget(volume);
  await writing.close();
});

test('has replicas made alike after a writer that no server has seen for some seconds', async () => {
  const writing = await rig.connect('writing');
  const volume = await writing.openVolume('v', { mode: 'write', holder: 'writer' });
  await write(volume, 0, 1);
  rig.forget(volume);
  await writing.close();
  await until(async () => (await rig.object('v')).lease === null);
  const { id } = await rig.object('v');
  const device = await storeOf(beside).openRead(id, () => {});
  await expectBytes(device, 0, 1);
  expect((await rig.object('v')).lease?.holder).toBe('a mount');
  await device.close();
  expect((await rig.object('v')).clean).toBe(true);
});

test('reads of one block do not go back and forth between replicas that differ', async () => {
  const volume = await open();
  await write(volume, 0, 1);
  const [, second] = rig.ostsOf(volume);
  second!.holds = ({ opcode }) => opcode === Opcode.WRITE;
  const written = write(volume, 0, 2);
  await until(() => second!.held === 1);
  reader = await beside.openHead('v');
  const seen = new Set<number>();
  for (let i = 0; i < 6; i++) seen.add(await readByte(reader, 0));
  expect(seen.size).toBe(1);
  second!.release();
  await written;
  await expectBytes(reader, 0, 2);
  await volume.close();
});

test('a snapshot has a file as long as it is, and not as it is on record', async () => {
  let sizeBytes = 5000;
  const fileNow = () => ({ sizeBytes, modifiedWallMs: 1 });
  const volume = await rig.cluster.openVolume('v', { mode: 'write', holder: 'writer', fileNow });
  await volume.change({ kind: 'file', file: { sizeBytes: 10, modifiedWallMs: 1 } });
  const ofName = async (name: string) =>
    (await rig.object('v')).snapshots.find((one) => one.name === name)?.fileBytes;
  await volume.change({ kind: 'snapshot', name: 'a' });
  expect(await ofName('a')).toBe(5000);
  sizeBytes = 7000;
  // As another process asks for it.
  await beside.changeVolume('v', { kind: 'snapshot', name: 'b' }, { timeoutMs: 5000 });
  expect(await ofName('b')).toBe(7000);
  sizeBytes = 100 * MiB;
  await expect(volume.change({ kind: 'snapshot', name: 'c' })).rejects.toThrow('longer than the volume');
  sizeBytes = 8000;
  await volume.change({ kind: 'snapshot', name: 'd' });
  expect([await ofName('c'), await ofName('d')]).toEqual([undefined, 8000]);
  await volume.close();
});
