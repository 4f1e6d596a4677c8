import { afterEach, beforeEach, expect, test } from 'vitest';
import { BlockOp } from '../../../src/block/index.js';
import { BlkType, HeaderFlag, Request } from '../../../src/vhost/constants.js';
import { encodeConfig, encodeU64, encodeVringState } from '../../../src/vhost/messages.js';
import type { FrontEnd } from '../../fixtures/vhost/connection.js';
import { Rig, requestParts } from '../../fixtures/vhost/rig.js';

/** A front-end that goes away while one of its messages waits for something: the next one can come. */

const DATA = 2 << 20;
let rig: Rig;
beforeEach(() => {
  rig = new Rig();
});
afterEach(() => rig.close());
const turn = () => new Promise((resolve) => setImmediate(resolve));

function serving(): boolean {
  return Reflect.get(Reflect.get(rig.server, 'session') as object, 'serving') as boolean;
}

function ending(): boolean {
  return Reflect.get(Reflect.get(rig.server, 'session') as object, 'ending') as boolean;
}

/** A write of it is held by the volume. */
async function inFlight(): Promise<FrontEnd> {
  const driver = await rig.queue();
  expect(await driver.front.shareMemory()).toBe(0);
  rig.fault.setRules({ op: BlockOp.WRITE, hold: true });
  driver.add(requestParts(driver.front, 0, BlkType.OUT, 0, [{ at: DATA, length: 4096 }]).parts);
  driver.kick.signal();
  while (rig.fault.heldCount < 1) await turn();
  return driver.front;
}

test.each<[string, (front: FrontEnd) => void]>([
  ['a ring that is stopped', (front) => front.vring(Request.GET_VRING_BASE, 0, 0)],
  ['memory that is shared anew', (front) => void front.shareMemory().catch(() => {})],
  ['a reset', (front) => front.send(Request.SET_STATUS, encodeU64(0n), [], HeaderFlag.NEED_REPLY)],
])('while %s waits for a write; what it has sent behind that is not read', async (_what, ask) => {
  const front = await inFlight();
  ask(front);
  while (!serving()) await turn();
  for (let i = 0; i < 4; i++) front.send(Request.SET_VRING_NUM, encodeVringState({ index: 0, number: 8 }));
  front.close();
  while (!ending()) await turn();
  // Served when nothing of the one before is under way any more.
  const next = rig.connect();
  const answer = next.u64(Request.GET_QUEUE_NUM);
  rig.fault.setRules();
  rig.fault.release();
  expect(await answer).toBe(4n);
  expect(rig.faults).toEqual([]);
});

test('while it is not known how large the volume is', async () => {
  Object.assign(rig.fault, { refresh: () => new Promise<void>(() => {}) });
  const front = rig.connect();
  front.send(Request.GET_CONFIG, encodeConfig({ offset: 0, bytes: Buffer.alloc(8) }));
  while (!serving()) await turn();
  front.close();
  await rig.idle();
  expect(await rig.connect().u64(Request.GET_QUEUE_NUM)).toBe(4n);
});

test('the next one comes before it was noticed that the one before has gone', async () => {
  const front = rig.connect();
  expect(await front.u64(Request.GET_QUEUE_NUM)).toBe(4n);
  front.close();
  expect(await rig.connect().u64(Request.GET_QUEUE_NUM)).toBe(4n);
  expect(rig.faults).toEqual([]);
});

test('one that is still there is not shut out by another', async () => {
  const front = rig.connect();
  expect(await front.u64(Request.GET_QUEUE_NUM)).toBe(4n);
  await rig.connect().ended();
  expect(await front.u64(Request.GET_QUEUE_NUM)).toBe(4n);
  front.close();
});
