import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { BlockOp } from '../../../src/block/device.js';
import type { Volume } from '../../../src/client/index.js';
import type { Membership } from '../../../src/client/membership.js';
import type { Clock } from '../../../src/common/clock.js';
import type { RawstorError } from '../../../src/common/errors.js';
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

describe('a holder whose lease needs no renewal for an hour', () => {
  const openSlowly = async (): Promise<Volume> => {
    await rig.create('v');
    await rig.stopMds();
    await rig.startMds(3_600_000);
    return rig.cluster.openVolume('v', { mode: 'write', holder: 'one' });
  };

  test('learns at once that another one took the volume', async () => {
    const first = await openSlowly();
    const fatal = new Promise<RawstorError>((resolve) => {
      first.onFatal = resolve;
    });
    // Not by an OST: it hears nothing from those.
    for (const ost of rig.ostsOf(first)) ost.holds = () => true;
    const other = await rig.connect('other');
    const second = other.openVolume('v', { mode: 'write', holder: 'two', force: true });
    const error = await fatal;
    expect(error.code).toBe('FENCED');
    expect(error.message).toContain("'two'");
    for (const ost of rig.ostsOf(first)) ost.release();
    await (await second).close();
    await first.close();
    await other.close();
  });

  test('hears of it after the MDS was away, too', async () => {
    const first = await openSlowly();
    const fatal = new Promise<RawstorError>((resolve) => {
      first.onFatal = resolve;
    });
    await rig.stopMds();
    await rig.startMds(3_600_000);
    const other = await rig.connect('other');
    await until(async () => (await other.mds.call('mds.stat', {})).leases === 1);
    for (const ost of rig.ostsOf(first)) ost.holds = () => true;
    const second = other.openVolume('v', { mode: 'write', holder: 'two', force: true });
    expect((await fatal).message).toContain("'two'");
    for (const ost of rig.ostsOf(first)) ost.release();
    await (await second).close();
    await first.close();
    await other.close();
  });
});

test('a replica that comes back is tried at once when the MDS tells of it', async () => {
  await rig.create('v');
  const volume = await rig.cluster.openVolume('v', { mode: 'write' });
  const [, second] = rig.ostsOf(volume);
  second!.away = true;
  second!.cut();
  await write(volume, 0, 1);
  await until(() => states(volume)[1] === 'stale');
  // As long as pauses get to be.
  const pauses: number[] = [];
  const clock = (volume as unknown as { state: { env: { clock: Clock } } }).state.env.clock;
  vi.spyOn(clock, 'after').mockImplementation((delayMs, action) => {
    if (delayMs >= 500) pauses.push(delayMs);
    const handle = setTimeout(action, delayMs === 500 || delayMs === 1000 ? 3_600_000 : delayMs);
    return { cancel: () => clearTimeout(handle) };
  });
  await until(() => pauses.length > 0);
  second!.away = false;
  const ost = (await rig.cluster.mds.call('mds.listOsts', {})).osts[0]!;
  // As an OST does that has connected anew.
  const { alive: _, lastSeenWallMs: __, ...info } = ost;
  await rig.cluster.mds.call('mds.registerOst', info);
  await until(() => states(volume).every((state) => state === 'in-sync'));
  vi.restoreAllMocks();
  await volume.close();
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
