import { closeSync } from 'node:fs';
import { afterEach, describe, expect, test } from 'vitest';
import { BlockFlag, BlockOp } from '../../../src/block/index.js';
import { DescriptorSocket } from '../../../src/io/index.js';
import { deviceFeatures, WRITEBACK_AT } from '../../../src/vhost/config-space.js';
import { BlkType, Feature, maskOf, Request } from '../../../src/vhost/constants.js';
import { encodeConfig, encodeU64 } from '../../../src/vhost/messages.js';
import { FrontEnd } from '../../fixtures/vhost/connection.js';
import { Driver } from '../../fixtures/vhost/driver.js';
import { Rig, requestParts } from '../../fixtures/vhost/rig.js';

/** A guest that has turned `writeback` off sends no FLUSH any more, and its front-end does not say it again. */

const DATA = 2 << 20;
const SIZE = 32;
const rigs: Rig[] = [];
afterEach(async () => {
  for (const rig of rigs.splice(0)) await rig.close();
});

function newRig(standby = false): Rig {
  const rig = new Rig({ standby });
  rigs.push(rig);
  return rig;
}

const featuresOf = (packed: boolean) =>
  deviceFeatures(false) & ~maskOf([Feature.LOG_ALL, ...(packed ? [] : [Feature.RING_PACKED])]);

async function turnOff(front: FrontEnd, value = 0): Promise<void> {
  const config = encodeConfig({ offset: WRITEBACK_AT, bytes: Buffer.from([value]) });
  expect(await front.acknowledged(Request.SET_CONFIG, config)).toBe(0);
}

async function writeback(front: FrontEnd): Promise<number> {
  const asked = encodeConfig({ offset: WRITEBACK_AT, bytes: Buffer.alloc(1) });
  return (await front.call(Request.GET_CONFIG, asked)).payload.at(-1)!;
}

/** Of a write, by what the volume is asked. */
async function isDurable(rig: Rig, driver: Driver): Promise<boolean> {
  let flags = -1;
  const { submit } = rig.fault;
  rig.fault.submit = (request) => {
    if (request.op === BlockOp.WRITE) flags = request.flags;
    submit.call(rig.fault, request);
  };
  driver.add(requestParts(driver.front, 0, BlkType.OUT, 0, [{ at: DATA, length: 512 }]).parts);
  driver.kick.signal();
  await driver.used(1);
  rig.fault.submit = submit;
  expect(flags).not.toBe(-1);
  return (flags & BlockFlag.FUA) !== 0;
}

test('stays off over a reset, and is on again when the guest says so', async () => {
  const rig = newRig();
  const { front } = await rig.queue();
  await turnOff(front);
  expect(await front.acknowledged(Request.SET_STATUS, encodeU64(0n))).toBe(0);
  expect(await writeback(front)).toBe(0);
  front.send(Request.SET_FEATURES, encodeU64(featuresOf(false)));
  const driver = new Driver(front, 1, 16, false);
  driver.start();
  expect(await isDurable(rig, driver)).toBe(true);
  await turnOff(front, 1);
  expect(await isDurable(rig, driver)).toBe(false);
});

test('stays off for a front-end that connects again', async () => {
  const rig = newRig();
  const { front } = await rig.queue();
  await turnOff(front);
  front.close();
  await rig.idle();
  const driver = await rig.queue();
  expect(await writeback(driver.front)).toBe(0);
  expect(await isDurable(rig, driver)).toBe(true);
});

const orders = ['before', 'after'].flatMap((order) => [
  { order, ring: 'split', packed: false },
  { order, ring: 'packed', packed: true },
]);
test.each(orders)(
  'stays off after a kill, turned off $order the in-flight area was made ($ring)',
  async ({ order, packed }) => {
    const first = newRig();
    const front = first.connect();
    await front.negotiate(featuresOf(packed));
    await front.shareMemory();
    if (order === 'before') await turnOff(front);
    const asked = Buffer.alloc(24);
    asked.writeUInt16LE(1, 16);
    asked.writeUInt16LE(SIZE, 18);
    const area = await front.call(Request.GET_INFLIGHT_FD, asked);
    front.send(Request.SET_INFLIGHT_FD, area.payload, area.fds);
    if (order === 'after') await turnOff(front);
    const driver = new Driver(front, 0, SIZE, packed);
    driver.start();
    expect(await isDurable(first, driver)).toBe(true);

    // The first one is never asked again: as if it had been killed.
    const second = newRig();
    const [ours, theirs] = DescriptorSocket.pair();
    second.server.accept(theirs);
    const again = Object.assign(Object.create(FrontEnd.prototype) as FrontEnd, front, { socket: ours });
    await again.negotiate(featuresOf(packed));
    await again.shareMemory();
    again.send(Request.SET_INFLIGHT_FD, area.payload, area.fds);
    Object.assign(driver, { front: again });
    driver.start();
    expect(await writeback(again)).toBe(0);
    expect(await isDurable(second, driver)).toBe(true);
    again.close();
    for (const fd of area.fds) closeSync(fd);
  },
);

/** Where a guest arrives: its QEMU tells nothing of what it has said at the source. */
describe('a guest that may come from elsewhere', () => {
  async function flush(driver: Driver): Promise<void> {
    driver.add(requestParts(driver.front, 1, BlkType.FLUSH, 0).parts);
    driver.kick.signal();
    await driver.used(1);
  }

  test.each([false, true])('has durable writes until it asks for a FLUSH (packed: %s)', async (packed) => {
    const rig = newRig(true);
    const driver = await rig.queue({ packed });
    expect(await writeback(driver.front)).toBe(1);
    expect(await isDurable(rig, driver)).toBe(true);
    expect(await isDurable(rig, driver)).toBe(true);
    await flush(driver);
    expect(await isDurable(rig, driver)).toBe(false);
    driver.front.close();
    await rig.idle();
    // Another one may have been elsewhere meanwhile.
    expect(await isDurable(rig, await rig.queue({ packed }))).toBe(true);
  });

  test('or says what it wants; then a FLUSH changes nothing', async () => {
    const rig = newRig(true);
    const driver = await rig.queue();
    await turnOff(driver.front, 1);
    expect(await isDurable(rig, driver)).toBe(false);
    await turnOff(driver.front, 0);
    await flush(driver);
    expect(await isDurable(rig, driver)).toBe(true);
  });

  test('also behind a planned upgrade', async () => {
    const rig = newRig(true);
    const driver = await rig.queue();
    expect(await isDurable(rig, driver)).toBe(true);
    const { state } = await rig.server.freeze();
    expect(state.session?.writebackKnown).toBe(false);
    rig.server.thaw();
    await flush(driver);
    expect((await rig.server.freeze()).state.session?.writebackKnown).toBe(true);
    rig.server.thaw();
  });
});
