import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { BlockOp } from '../../../src/block/index.js';
import { systemClock } from '../../../src/common/clock.js';
import { silentLogger } from '../../../src/common/log.js';
import { createMemfd, DescriptorSocket, EventFd, mapDescriptor } from '../../../src/io/index.js';
import { deviceFeatures } from '../../../src/vhost/config-space.js';
import {
  BackendRequest,
  BlkStatus,
  BlkType,
  Feature,
  maskOf,
  Request,
} from '../../../src/vhost/constants.js';
import { sendControl } from '../../../src/vhost/hand-on/control-message.js';
import { Giver, takeDevice, VhostServer } from '../../../src/vhost/index.js';
import { encodeU64, HEADER_BYTES } from '../../../src/vhost/messages.js';
import { FrontEnd } from '../../fixtures/vhost/connection.js';
import { Driver } from '../../fixtures/vhost/driver.js';
import { Rig, requestParts } from '../../fixtures/vhost/rig.js';

/** A device that goes from one server to another with everything that its front-end has given. */

const DATA = 2 << 20;
let rig: Rig;
let dir: string;
let path: string;
let servers: VhostServer[];
beforeEach(() => {
  rig = new Rig();
  dir = mkdtempSync(join(tmpdir(), 'rawstor-hand-on-'));
  path = join(dir, 'vm1.vhost');
  servers = [newServer()];
});
afterEach(async () => {
  rig.fault.release();
  for (const server of servers) await server.close();
  await rig.close();
  rmSync(dir, { recursive: true });
});

function newServer(): VhostServer {
  return new VhostServer({ io: rig.io, log: silentLogger, device: rig.fault, serial: 'vm1', queues: 2 });
}

async function listening(): Promise<FrontEnd> {
  await servers[0]!.listen(path);
  return new FrontEnd(DescriptorSocket.connect(path));
}

async function queue(front: FrontEnd, packed: boolean): Promise<Driver> {
  const drop = maskOf([Feature.LOG_ALL, ...(packed ? [] : [Feature.RING_PACKED])]);
  await front.negotiate(deviceFeatures(false) & ~drop);
  await front.shareMemory();
  const driver = new Driver(front, 0, 16, packed);
  driver.start();
  return driver;
}

/** Gives the device of the last server to a new one. */
async function handOn(): Promise<void> {
  let gone = () => {};
  const over = new Promise<void>((resolve) => {
    gone = resolve;
  });
  const device = servers.at(-1)!;
  const options = { path: `${path}.control`, log: silentLogger, clock: systemClock, device, onGone: gone };
  await Giver.listen(options);
  const taken = await takeDevice(`${path}.control`);
  const next = newServer();
  next.adopt(taken);
  await taken.confirm();
  next.thaw();
  servers.push(next);
  await over;
  await device.close();
}

async function perform(driver: Driver, type: number, sector: number, at: number): Promise<number> {
  const data = { at, length: 4096, write: type === BlkType.IN };
  const { parts, statusAt } = requestParts(driver.front, 0, type, sector, [data]);
  driver.add(parts);
  driver.kick.signal();
  await driver.used(1);
  return driver.front.bytes[statusAt]!;
}

test.each([
  ['split', false],
  ['packed', true],
])('a %s ring goes on where it was, again and again', async (_name, packed) => {
  const front = await listening();
  const driver = await queue(front, packed);
  for (let round = 1; round <= 30; round++) {
    front.bytes.fill(round, DATA, DATA + 4096);
    expect(await perform(driver, BlkType.OUT, 8 * round, DATA)).toBe(BlkStatus.OK);
    if (round % 3 === 0) await handOn();
    expect(await perform(driver, BlkType.IN, 8 * round, DATA + 8192)).toBe(BlkStatus.OK);
    expect(front.bytes.subarray(DATA + 8192, DATA + 12288)).toEqual(Buffer.alloc(4096, round));
  }
  expect(servers).toHaveLength(11);
  front.close();
});

test('a ring that the guest has broken stays so', async () => {
  const front = await listening();
  const driver = await queue(front, false);
  const error = new EventFd();
  front.send(Request.SET_VRING_ERR, encodeU64(0n), [error.fd]);
  // Answered: the one before is in effect.
  await front.u64(Request.GET_STATUS);
  driver.publish(99);
  driver.kick.signal();
  while (error.take() === 0) await new Promise((resolve) => setImmediate(resolve));
  await handOn();
  driver.add(requestParts(front, 0, BlkType.FLUSH, 0).parts);
  driver.kick.signal();
  await new Promise((resolve) => setTimeout(resolve, 100));
  expect(driver.take()).toEqual([]);
  front.close();
});

test('what is in flight is answered first, by who has taken it', async () => {
  const front = await listening();
  const driver = await queue(front, false);
  rig.fault.setRules({ op: BlockOp.WRITE, hold: true });
  const data = { at: DATA, length: 4096 };
  driver.add(requestParts(front, 1, BlkType.OUT, 0, [data]).parts);
  driver.kick.signal();
  while (rig.fault.heldCount < 1) await new Promise((resolve) => setImmediate(resolve));
  let handed = false;
  const handing = handOn().then(() => {
    handed = true;
  });
  // Kicked while nobody takes anything: found by the next one.
  driver.add(requestParts(front, 2, BlkType.OUT, 8, [data]).parts);
  driver.kick.signal();
  await new Promise((resolve) => setTimeout(resolve, 50));
  expect(handed).toBe(false);
  rig.fault.release();
  await handing;
  expect(await driver.used(2)).toHaveLength(2);
  front.close();
});

test('the dirty log and the back-end channel go along', async () => {
  const front = await listening();
  const [ours, theirs] = DescriptorSocket.pair();
  const driver = await queue(front, false);
  front.send(Request.SET_BACKEND_REQ_FD, Buffer.alloc(0), [theirs.fd]);
  const logFd = createMemfd('log', 1 << 20);
  const log = Buffer.alloc(16);
  log.writeBigUInt64LE(1n << 20n, 0);
  await front.call(Request.SET_LOG_BASE, log, [logFd]);
  const features = deviceFeatures(false) & ~maskOf([Feature.RING_PACKED]);
  front.send(Request.SET_FEATURES, encodeU64(features));
  await handOn();
  const bits = mapDescriptor(logFd, 0, 1 << 20).bytes;
  bits.fill(0);
  expect(await perform(driver, BlkType.IN, 0, DATA)).toBe(BlkStatus.OK);
  const page = front.guest(DATA) / 4096;
  expect(bits[Math.floor(page / 8)]! & (1 << (page % 8))).not.toBe(0);
  // Of what failed nothing was written but the status, whatever its buffers.
  bits.fill(0);
  const { parts, statusAt } = requestParts(front, 0, BlkType.IN, 2 ** 40, [
    { at: DATA, length: 1 << 20, write: true },
  ]);
  driver.add(parts);
  driver.kick.signal();
  await driver.used(1);
  expect(front.bytes[statusAt]).toBe(BlkStatus.IOERR);
  expect(bits[Math.floor(page / 8)]! & (1 << (page % 8))).toBe(0);
  const statusPage = Math.floor(front.guest(statusAt) / 4096);
  expect(bits[Math.floor(statusPage / 8)]! & (1 << (statusPage % 8))).not.toBe(0);
  servers.at(-1)!.configChanged();
  const told = Buffer.alloc(HEADER_BYTES);
  let got = 0;
  while (got < HEADER_BYTES) {
    const count = ours.receive(told, got, HEADER_BYTES - got, []);
    if (count === null) await new Promise((resolve) => setImmediate(resolve));
    else got += count;
  }
  expect(told.readUInt32LE(0)).toBe(BackendRequest.CONFIG_CHANGE);
  front.close();
});

test('the volume is closed, with nothing running on it, before another process hears of the device', async () => {
  const events: string[] = [];
  Object.defineProperty(rig.fault, 'rest', { value: (resting: boolean) => events.push(`rests ${resting}`) });
  Object.defineProperty(rig.fault, 'giveWay', {
    value: async () => {
      await new Promise((resolve) => setTimeout(resolve, 20));
      events.push('gave way');
    },
  });
  const front = await listening();
  const driver = await queue(front, false);
  expect(await perform(driver, BlkType.IN, 0, DATA)).toBe(BlkStatus.OK);
  // Not at rest meanwhile: who else waits for it would get it then.
  const { state } = await servers[0]!.freeze();
  expect(events).toEqual(['rests false', 'gave way']);
  expect(state.session).not.toBeNull();
  servers[0]!.thaw();
  expect(await perform(driver, BlkType.IN, 0, DATA)).toBe(BlkStatus.OK);
  expect(events.at(-1)).toBe('rests false');
  front.close();
});

test('a process that asks and then dies leaves it where it was', async () => {
  const front = await listening();
  const driver = await queue(front, true);
  const device = servers[0]!;
  const options = {
    path: `${path}.control`,
    log: silentLogger,
    clock: systemClock,
    device,
    onGone: () => {},
  };
  const giver = await Giver.listen(options);
  for (let round = 0; round < 5; round++) {
    (await takeDevice(`${path}.control`)).abandon();
    expect(await perform(driver, BlkType.IN, 0, DATA)).toBe(BlkStatus.OK);
  }
  giver.close();
  front.close();
});

test.each(['dies', 'lets too much time pass'])(
  'a process that asks and then %s while requests are still under way',
  async (what) => {
    const front = await listening();
    const driver = await queue(front, false);
    rig.fault.setRules({ op: BlockOp.WRITE, hold: true });
    const data = { at: DATA, length: 4096 };
    const { parts, statusAt } = requestParts(front, 1, BlkType.OUT, 0, [data]);
    driver.add(parts);
    driver.kick.signal();
    while (rig.fault.heldCount < 1) await new Promise((resolve) => setImmediate(resolve));
    const device = servers[0]!;
    const clock =
      what === 'dies'
        ? systemClock
        : { ...systemClock, after: (_ms: number, f: () => void) => systemClock.after(50, f) };
    let [freezes, thaws] = [0, 0];
    const watched = {
      freeze: () => {
        freezes++;
        return device.freeze();
      },
      thaw: () => {
        thaws++;
        device.thaw();
      },
      letGo: () => device.letGo(),
    };
    const giver = await Giver.listen({
      path: `${path}.control`,
      log: silentLogger,
      clock,
      device: watched,
      onGone: () => {},
    });
    const taker = DescriptorSocket.connect(`${path}.control`);
    sendControl(taker, { word: 'take' });
    while (freezes < 1) await new Promise((resolve) => setImmediate(resolve));
    if (what === 'dies') taker.close();
    while (thaws < 1) await new Promise((resolve) => setImmediate(resolve));
    // The one before is still under way.
    expect(await perform(driver, BlkType.IN, 0, DATA)).toBe(BlkStatus.OK);
    rig.fault.release();
    await driver.used(1);
    expect(front.bytes[statusAt]).toBe(BlkStatus.OK);
    // And not given away by the freeze that was given up.
    expect(await perform(driver, BlkType.IN, 0, DATA)).toBe(BlkStatus.OK);
    if (what !== 'dies') taker.close();
    giver.close();
    await handOn();
    expect(await perform(driver, BlkType.IN, 0, DATA)).toBe(BlkStatus.OK);
    front.close();
  },
);

test('the next front-end finds who has taken over, and the socket file is that one’s', async () => {
  const first = await listening();
  await handOn();
  first.close();
  await first.ended().catch(() => {});
  while (servers.at(-1)!.connected) await new Promise((resolve) => setImmediate(resolve));
  const front = new FrontEnd(DescriptorSocket.connect(path));
  const driver = await queue(front, false);
  expect(await perform(driver, BlkType.IN, 0, DATA)).toBe(BlkStatus.OK);
  expect(existsSync(path)).toBe(true);
  front.close();
  await servers.at(-1)!.close();
  expect(existsSync(path)).toBe(false);
});
