import { closeSync } from 'node:fs';
import { afterEach, expect, test } from 'vitest';
import { BlockOp } from '../../../src/block/index.js';
import { DescriptorSocket } from '../../../src/io/index.js';
import { deviceFeatures } from '../../../src/vhost/config-space.js';
import { BlkType, Feature, maskOf, Request } from '../../../src/vhost/constants.js';
import { FrontEnd } from '../../fixtures/vhost/connection.js';
import { Driver } from '../../fixtures/vhost/driver.js';
import { Rig, requestParts } from '../../fixtures/vhost/rig.js';

const rigs: Rig[] = [];
afterEach(async () => {
  for (const rig of rigs.splice(0)) await rig.close();
});

const DATA = 2 << 20;

test.each([
  ['split', false],
  ['packed', true],
])(
  'a second back-end does again exactly what the first has not given back, in order (%s)',
  async (_name, packed) => {
    const first = new Rig();
    rigs.push(first);
    const front = first.connect();
    const drop = maskOf([Feature.LOG_ALL, ...(packed ? [] : [Feature.RING_PACKED])]);
    const features = deviceFeatures(false) & ~drop;
    await front.negotiate(features);
    await front.shareMemory();
    const asked = Buffer.alloc(24);
    asked.writeUInt16LE(1, 16);
    asked.writeUInt16LE(32, 18);
    const area = await front.call(Request.GET_INFLIGHT_FD, asked);
    expect(area.fds).toHaveLength(1);
    front.send(Request.SET_INFLIGHT_FD, area.payload, area.fds);
    const driver = new Driver(front, 0, 32, packed);
    driver.start();
    // Given back out of order: the descriptors of what is left in a packed ring are overwritten.
    first.fault.setRules({ op: BlockOp.WRITE, range: { offset: 0, length: 4 * 4096 }, hold: true });
    const ids: number[] = [];
    for (let slot = 0; slot < 6; slot++) {
      front.bytes.fill(slot + 1, DATA + slot * 4096, DATA + (slot + 1) * 4096);
      const data = [{ at: DATA + slot * 4096, length: 4096 }];
      ids.push(driver.add(requestParts(front, slot, BlkType.OUT, slot * 8, data).parts));
    }
    driver.kick.signal();
    expect((await driver.used(2)).map(({ id }) => id)).toEqual(ids.slice(4));
    while (first.fault.heldCount < 4) await new Promise((resolve) => setImmediate(resolve));

    // As after a kill: the first one never answers, a second one is told of the same memory.
    const second = new Rig();
    rigs.push(second);
    const [ours, theirs] = DescriptorSocket.pair();
    second.server.accept(theirs);
    const order: number[] = [];
    const submit = second.fault.submit.bind(second.fault);
    second.fault.submit = (request) => {
      order.push(request.offset / 4096);
      submit(request);
    };
    const again = Object.assign(Object.create(FrontEnd.prototype) as FrontEnd, front, { socket: ours });
    await again.negotiate(features);
    await again.shareMemory();
    again.send(Request.SET_INFLIGHT_FD, area.payload, area.fds);
    Object.assign(driver, { front: again });
    // What a front-end says then is stale for packed rings: their place is in the shared area.
    driver.start();
    const used = await driver.used(4);
    expect(used.map(({ id }) => id)).toEqual(ids.slice(0, 4));
    expect(order).toEqual([0, 1, 2, 3]);
    // And it goes on behind them.
    const data = [{ at: DATA, length: 4096, write: true }];
    driver.add(requestParts(again, 7, BlkType.IN, 16, data).parts);
    driver.kick.signal();
    await driver.used(1);
    expect(again.bytes[DATA]).toBe(3);
    again.close();
    for (const fd of area.fds) closeSync(fd);
  },
);

/** The front-end never hears where its ring is. */
async function endWhileAskedForBase(rig: Rig, driver: Driver): Promise<void> {
  const turn = () => new Promise((resolve) => setImmediate(resolve));
  rig.fault.setRules({ op: BlockOp.FLUSH, hold: true });
  driver.add(requestParts(driver.front, 0, BlkType.FLUSH, 0).parts);
  driver.kick.signal();
  while (rig.fault.heldCount < 1) await turn();
  driver.front.send(Request.GET_VRING_BASE, Buffer.alloc(8));
  const session = Reflect.get(rig.server, 'session') as object;
  while (Reflect.get(session, 'serving') !== true) await turn();
  const closing = rig.server.close();
  rig.fault.setRules();
  rig.fault.release();
  await closing;
  expect(await driver.used(1)).toHaveLength(1);
}

test.each([
  ['ends in order', (rig: Rig) => rig.server.close()],
  ['ends while it is asked for the place', endWhileAskedForBase],
  ['has frozen for another process, and dies', (rig: Rig) => rig.server.freeze()],
])('a packed ring goes on where it was after a back-end that %s', async (_what, stop) => {
  const first = new Rig();
  rigs.push(first);
  const front = first.connect();
  const features = deviceFeatures(false) & ~maskOf([Feature.LOG_ALL]);
  await front.negotiate(features);
  await front.shareMemory();
  const asked = Buffer.alloc(24);
  asked.writeUInt16LE(1, 16);
  asked.writeUInt16LE(32, 18);
  const area = await front.call(Request.GET_INFLIGHT_FD, asked);
  const driver = new Driver(front, 0, 32, true);
  driver.start();
  const flush = async (from: FrontEnd) => {
    driver.add(requestParts(from, 0, BlkType.FLUSH, 0).parts);
    driver.kick.signal();
    expect(await driver.used(1)).toHaveLength(1);
  };
  for (let i = 0; i < 5; i++) await flush(front);
  await stop(first, driver);
  const second = new Rig();
  rigs.push(second);
  const [ours, theirs] = DescriptorSocket.pair();
  second.server.accept(theirs);
  const again = Object.assign(Object.create(FrontEnd.prototype) as FrontEnd, front, { socket: ours });
  await again.negotiate(features);
  await again.shareMemory();
  again.send(Request.SET_INFLIGHT_FD, area.payload, area.fds);
  Object.assign(driver, { front: again });
  // It was told no base, and says the one of the beginning.
  driver.start();
  await flush(again);
  again.close();
  for (const fd of area.fds) closeSync(fd);
});
