import { closeSync, openSync, readdirSync } from 'node:fs';
import { devNull } from 'node:os';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { createMemfd, EventFd } from '../../../src/io/index.js';
import { loadNative } from '../../../src/native/index.js';
import { deviceFeatures } from '../../../src/vhost/config-space.js';
import { Feature, maskOf, Request } from '../../../src/vhost/constants.js';
import { encodeU64 } from '../../../src/vhost/messages.js';
import type { FrontEnd } from '../../fixtures/vhost/connection.js';
import { Rig } from '../../fixtures/vhost/rig.js';

/** Descriptors whose file is whatever a front-end likes, and takes as long as it likes. */

const O_PATH = 0o10000000;
const FUSE = 0x65735546;
let rig: Rig;
beforeEach(() => {
  rig = new Rig();
});
afterEach(async () => {
  vi.restoreAllMocks();
  await rig.close();
});
const turn = () => new Promise((resolve) => setImmediate(resolve));
const openDescriptors = () => readdirSync('/proc/self/fd').length;

async function negotiated(): Promise<FrontEnd> {
  const front = rig.connect();
  await front.negotiate(deviceFeatures(false) & ~maskOf([Feature.RING_PACKED, Feature.LOG_ALL]));
  return front;
}

function region(): Buffer {
  const bytes = Buffer.alloc(40);
  bytes.writeBigUInt64LE(65536n, 16);
  return bytes;
}

/** Calls of the addon that have not come back yet. */
function held(name: 'foreignFile' | 'foreignClose'): (() => void)[] {
  const native = loadNative();
  const real = native[name] as (...args: unknown[]) => boolean;
  const calls: (() => void)[] = [];
  vi.spyOn(native, name).mockImplementation((...args: unknown[]) => {
    calls.push(() => real.apply(native, args));
    return true;
  });
  return calls;
}

test('whoever serves a file that is shared as memory holds up its front-end, and nobody else', async () => {
  const front = await negotiated();
  const waiting = held('foreignFile');
  const fd = createMemfd('guest', 65536);
  const answer = front.acknowledged(Request.ADD_MEM_REG, region(), [fd]);
  while (waiting.length < 1) await turn();
  const other = new Rig();
  expect(await other.connect().u64(Request.GET_QUEUE_NUM)).toBe(4n);
  await other.close();
  waiting[0]!();
  expect(await answer).toBe(0);
  closeSync(fd);
});

test('no other front-end comes, to leave as much behind, until what one has passed is closed', async () => {
  const front = await negotiated();
  const waiting = held('foreignFile');
  const fd = createMemfd('guest', 65536);
  front.send(Request.ADD_MEM_REG, region(), [fd]);
  closeSync(fd);
  while (waiting.length < 1) await turn();
  const before = openDescriptors();
  const closing = held('foreignClose');
  front.close();
  // Its socket, and of the message nothing: that is being looked at.
  while (closing.length < 1) await turn();
  const next = rig.connect().u64(Request.GET_QUEUE_NUM);
  closing[0]!();
  for (let i = 0; i < 20; i++) await turn();
  expect(rig.faults).toEqual([]);
  waiting[0]!();
  while (closing.length < 2) await turn();
  vi.restoreAllMocks();
  closing[1]!();
  expect(await next).toBe(4n);
  expect(openDescriptors()).toBeLessThan(before + 8);
});

test('a server ends though its front-end’s descriptors are not closed yet', async () => {
  await negotiated();
  const closing = held('foreignClose');
  await rig.server.close();
  expect(closing.length).toBeGreaterThan(0);
  vi.restoreAllMocks();
  for (const go of closing) go();
  await rig.idle();
});

test('a message with descriptors that it has no use for is answered when they are closed', async () => {
  const front = await negotiated();
  const before = openDescriptors();
  const fds = [1, 2, 3].map(() => openSync(devNull, 'r'));
  await front.call(Request.GET_QUEUE_NUM, Buffer.alloc(0), fds);
  for (const fd of fds) closeSync(fd);
  expect(openDescriptors()).toBe(before);
});

test('memory that is no file, or of a file system that another process serves, is refused', async () => {
  const front = await negotiated();
  const device = openSync('/dev/zero', 'r+');
  expect(await front.acknowledged(Request.ADD_MEM_REG, region(), [device])).toBe(1);
  closeSync(device);
  const fd = createMemfd('guest', 65536);
  vi.spyOn(loadNative(), 'foreignFile').mockImplementation((_fd, callback) => {
    callback(FUSE, 65536, 0o100000);
    return true;
  });
  expect(await front.acknowledged(Request.ADD_MEM_REG, region(), [fd])).toBe(1);
  expect(await front.acknowledged(Request.SET_INFLIGHT_FD, Buffer.alloc(24), [fd])).toBe(1);
  vi.restoreAllMocks();
  expect(await front.acknowledged(Request.ADD_MEM_REG, region(), [fd])).toBe(0);
  expect(rig.faults).toEqual([
    'memory was passed that is no file',
    'memory was passed that is on a file system 0x65735546',
    'memory was passed that is on a file system 0x65735546',
  ]);
  closeSync(fd);
});

test('an eventfd that is open as a mere path is none, and a channel has to be a socket', async () => {
  const front = await negotiated();
  const event = new EventFd();
  const path = openSync(`/proc/self/fd/${event.fd}`, O_PATH);
  expect(EventFd.isOne(path)).toBe(false);
  expect(await front.acknowledged(Request.SET_VRING_CALL, encodeU64(0n), [path])).toBe(1);
  expect(await front.acknowledged(Request.SET_BACKEND_REQ_FD, Buffer.alloc(0), [path])).toBe(1);
  closeSync(path);
  event.close();
});
