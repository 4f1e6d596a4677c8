import { randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { BlockOp, BlockRequest } from '../../../src/block/device.js';
import {
  type Cluster,
  type KeyPlace,
  KeyRing,
  newEncryption,
  readSecret,
} from '../../../src/client/index.js';
import { MiB } from '../../../src/common/units.js';
import { mapAnonymous } from '../../../src/io/index.js';
import { ClientRig, expectBytes, flush, readByte, states, submit, until, write } from './rig.js';

/** Encrypted volumes in all ways that the client reads them: as their holder, frozen, beside a writer, before a hand-over. */

let rig: ClientRig;
let place: KeyPlace;
let keys: KeyRing;
const clusters: Cluster[] = [];
beforeEach(async () => {
  rig = await ClientRig.start(2);
  const path = join(rig.dir, 'key');
  writeFileSync(path, randomBytes(32));
  place = { volume: null, kind: 'key', path };
  keys = new KeyRing([place]);
  await rig.create('v', { encryption: await newEncryption(await readSecret(place)) });
});
afterEach(async () => {
  for (const cluster of clusters.splice(0)) await cluster.close();
  await rig.end();
});

async function connect(name: string, of: KeyRing | undefined = keys): Promise<Cluster> {
  const cluster = await rig.connect(name, { keys: of });
  clusters.push(cluster);
  return cluster;
}

test('who reads it beside its writer, or waits for it to be handed over, sees what was written', async () => {
  const [here, there] = [await connect('here'), await connect('there')];
  const movable = await here.openMovable('v', { holder: 'here', standby: true, tellsStops: false });
  await write(movable, 8192, 7);
  await flush(movable);
  const standby = await there.openMovable('v', { holder: 'there', standby: true, tellsStops: false });
  await expectBytes(standby, 8192, 7);
  await expectBytes(standby, 0, 0);
  const head = await there.openHead('v');
  expect(await readByte(head, 8192)).toBe(7);
  expect(await readByte(head, 16_384)).toBe(0);
  await head.close();
  // It takes it with its first write.
  await write(standby, 4096, 9);
  await until(() => standby.holds);
  await expectBytes(standby, 8192, 7);
  await Promise.all([movable.close(), standby.close()]);
});

test('a read that waits to be handed over is withdrawn with its front-end, and nobody asks any more', async () => {
  const [here, there] = [await connect('here'), await connect('there')];
  const movable = await here.openMovable('v', { holder: 'here', standby: true, tellsStops: true });
  movable.rest(false);
  const standby = await there.openMovable('v', { holder: 'there', standby: true, tellsStops: false });
  // As when no replica could be read.
  const inner = standby as unknown as { reads: { submit: unknown }; serve(block: BlockRequest): void };
  inner.reads.submit = (block: BlockRequest) => inner.serve(block);
  const memory = mapAnonymous(4096);
  let failure: string | null = null;
  const read = new BlockRequest({
    blockDone: (_, error) => {
      failure = error?.code ?? 'none';
    },
  });
  Object.assign(read, { op: BlockOp.READ, offset: 0, length: 4096 });
  read.slices.add(memory, 0, 4096);
  standby.submit(read);
  await until(async () => (await rig.object('v')).lease?.holder === 'here');
  standby.withdraw((request) => request === read);
  await until(async () => failure !== null);
  expect(failure).toBe('UNAVAILABLE');
  movable.rest(true);
  // Longer than any pause of who asks.
  await new Promise((resolve) => setTimeout(resolve, 700));
  expect(standby.holds).toBe(false);
  await Promise.all([movable.close(), standby.close()]);
  memory.unmap();
});

test('without its key it is changed, repaired and frozen, and its content is refused', async () => {
  const keyless = await connect('keyless', new KeyRing([]));
  const writer = await (await connect('writer')).openVolume('v', { mode: 'write' });
  await write(writer, 0, 5);
  await writer.close();
  for (const open of [
    keyless.openVolume('v', { mode: 'write' }),
    keyless.openMovable('v', { holder: 'x', standby: true, tellsStops: false }),
    keyless.openHead('v'),
  ]) {
    await expect(open).rejects.toMatchObject({ code: 'DENIED' });
  }
  expect((await rig.object('v')).lease).toBeNull();
  const volume = await keyless.openVolume('v', { mode: 'write', content: false });
  expect(await submit(volume, BlockOp.READ, 0, 4096)).toMatchObject({ code: 'DENIED' });
  expect(await submit(volume, BlockOp.WRITE, 0, 4096)).toMatchObject({ code: 'DENIED' });
  expect(await submit(volume, BlockOp.FLUSH)).toBeNull();
  await volume.change({ kind: 'snapshot', name: 's' });
  await volume.close();
  const snapshot = await clusters[1]!.openSnapshot('v', 's');
  expect(await readByte(snapshot, 0)).toBe(5);
  await snapshot.close();
  await expect(keyless.openSnapshot('v', 's')).rejects.toMatchObject({ code: 'DENIED' });
});

test('it is closed although more writes wait for a replica than there is memory to encipher them in', async () => {
  const secret = await readSecret(place);
  await rig.create('starved', { minReplicas: 2, encryption: await newEncryption(secret) });
  const cluster = await rig.connect('closer', { keys, confirmMs: 200 });
  clusters.push(cluster);
  const volume = await cluster.openVolume('starved', { mode: 'write' });
  const [, second] = rig.ostsOf(volume);
  second!.away = true;
  second!.cut();
  const first = submit(volume, BlockOp.WRITE, 0, 4096, 2);
  await until(() => states(volume)[1] === 'stale');
  const memory = mapAnonymous(MiB);
  const writing = Array.from({ length: 24 }, (_, i) =>
    submit(volume, BlockOp.WRITE, (i % 4) * MiB, MiB, 3, memory),
  );
  await volume.close();
  for (const error of await Promise.all([first, ...writing])) expect(error?.code).toBe('UNAVAILABLE');
}, 30_000);
