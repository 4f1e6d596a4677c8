import { afterEach, beforeEach, expect, test } from 'vitest';
import { VolumeExports, type VolumeExportsOptions } from '../../../src/cli/gateway/volume-exports.js';
import type { Cluster } from '../../../src/client/index.js';
import { systemClock } from '../../../src/common/clock.js';
import { silentLogger } from '../../../src/common/log.js';
import { MiB } from '../../../src/common/units.js';
import { Exports } from '../../../src/nbd-server/exports.js';
import { ClientRig, flush, readByte, submit, until, write } from './rig.js';

/** Exports of a gateway whose names come to mean something else while they are open. */

let rig: ClientRig;
let gateway: Cluster;
let exports: Exports;
beforeEach(async () => {
  rig = await ClientRig.start(1);
  await rig.create('vm1', { replicas: 1 });
  gateway = await rig.connect('gateway');
  exports = exportsOf({});
});
afterEach(async () => {
  await exports.close();
  await gateway.close();
  await rig.end();
});

function exportsOf(more: Partial<VolumeExportsOptions>): Exports {
  const source = new VolumeExports({
    cluster: gateway,
    clock: systemClock,
    holder: () => 'gateway',
    standby: false,
    tellsStops: false,
    ...more,
  });
  return new Exports(source, { lingerMs: 5000, openMax: 8, clock: systemClock, log: silentLogger });
}

async function writeAll(name: string, byte: number): Promise<void> {
  const lease = await exports.acquire(name);
  await write(lease.device, 0, byte);
  await flush(lease.device);
  lease.release();
}

const change = (what: Parameters<Cluster['changeVolume']>[1]) =>
  rig.cluster.changeVolume('vm1', what, { timeoutMs: 10_000 });

async function versionOf(snapshot: string): Promise<number> {
  return (await rig.object('vm1')).snapshots.find(({ name }) => name === snapshot)!.version;
}

test('a snapshot that was renamed, and another of its name: who comes now reads the new one, who is there his', async () => {
  await writeAll('vm1', 0x11);
  await change({ kind: 'snapshot', name: 'daily' });
  const old = await exports.acquire('vm1@daily');
  expect(await readByte(old.device, 0)).toBe(0x11);
  await change({ kind: 'rename', version: await versionOf('daily'), name: 'yesterday' });
  await writeAll('vm1', 0x22);
  await change({ kind: 'snapshot', name: 'daily' });

  const marks = (await exports.facts('vm1@daily')).marks;
  expect(marks?.map(({ name }) => name)).toEqual(['yesterday']);
  const [first, second] = await Promise.all([exports.acquire('vm1@daily'), exports.acquire('vm1@daily')]);
  expect(second.device).toBe(first.device);
  expect(await readByte(first.device, 0)).toBe(0x22);
  expect(first.facts.marks?.map(({ name }) => name)).toEqual(['yesterday']);
  expect(await readByte(old.device, 0)).toBe(0x11);
  old.release();
  first.release();
  // Not used, and open for those who come back.
  second.release();
  const again = await exports.acquire('vm1@daily');
  expect(again.device).toBe(first.device);
  again.release();
  expect(await exports.end('vm1@daily')).toBe(true);
});

test('a snapshot that was removed while it is read does not stand in the way of the next of its name', async () => {
  await writeAll('vm1', 0x11);
  await change({ kind: 'snapshot', name: 'daily' });
  const old = await exports.acquire('vm1@daily');
  expect(await readByte(old.device, 0)).toBe(0x11);
  await change({ kind: 'remove', version: await versionOf('daily') });
  await until(async () => (await submit(old.device, 1, 0, 4096)) !== null);
  await expect(exports.acquire('vm1@daily')).rejects.toMatchObject({ code: 'NOT_FOUND' });
  await writeAll('vm1', 0x22);
  await change({ kind: 'snapshot', name: 'daily' });
  const now = await exports.acquire('vm1@daily');
  expect(await readByte(now.device, 0)).toBe(0x22);
  now.release();
  old.release();
});

test('a volume that was taken away from its client is opened anew for the next', async () => {
  const old = await exports.acquire('vm1');
  await write(old.device, 0, 0x11);
  const other = await rig.cluster.openVolume('vm1', { mode: 'write', force: true });
  await write(other, 0, 0x22);
  await until(async () => (await submit(old.device, 2, 4096, 4096)) !== null);
  await expect(exports.acquire('vm1')).rejects.toMatchObject({ code: 'BUSY' });
  await other.close();
  const now = await exports.acquire('vm1');
  expect(await readByte(now.device, 0)).toBe(0x22);
  // The one that is over gives back nothing of it.
  old.release();
  await write(now.device, 0, 0x33);
  await flush(now.device);
  now.release();
}, 20_000);

test('a volume that another process has renamed, and a new one of its name, where a client only stands by', async () => {
  const other = await rig.cluster.openVolume('vm1', { mode: 'write' });
  exports = exportsOf({ standby: true });
  const old = await exports.acquire('vm1');
  expect(old.facts.sizeBytes).toBe(16 * MiB);
  await other.close();
  await rig.cluster.renameVolume('vm1', 'old');
  await rig.create('vm1', { replicas: 1, sizeBytes: 32 * MiB });
  expect((await exports.facts('vm1')).sizeBytes).toBe(32 * MiB);
  const now = await exports.acquire('vm1');
  expect(now.facts.sizeBytes).toBe(32 * MiB);
  now.release();
  old.release();
});

test('guests come back to their volume while the metadata server is away', async () => {
  const old = await exports.acquire('vm1');
  await rig.stopMds();
  old.release();
  const sinceMs = Date.now();
  const now = await exports.acquire('vm1');
  expect(now.device).toBe(old.device);
  expect(Date.now() - sinceMs).toBeLessThan(1000);
  await write(now.device, 0, 0x44);
  now.release();
  await rig.startMds();
});
