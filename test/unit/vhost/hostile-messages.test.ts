import { readdirSync } from 'node:fs';
import fc from 'fast-check';
import { afterEach, expect, test } from 'vitest';
import { BlockOp } from '../../../src/block/index.js';
import { closeDescriptor, createMemfd } from '../../../src/io/index.js';
import { deviceFeatures } from '../../../src/vhost/config-space.js';
import { BlkType, Feature, maskOf, Request } from '../../../src/vhost/constants.js';
import { encodeMessage } from '../../../src/vhost/messages.js';
import { Corpus } from '../../fixtures/vhost/corpus.js';
import { Driver } from '../../fixtures/vhost/driver.js';
import {
  type MessageCase,
  type MessagesOutcome,
  messages,
  send,
  sendAll,
} from '../../fixtures/vhost/message-cases.js';
import { Rig, requestParts } from '../../fixtures/vhost/rig.js';

/** Front-ends that send anything: the connection may end, the back-end goes on and gives every descriptor back. */

const LONG = process.env.RAWSTOR_TEST_LONG === '1';
/** A case is a message; of so many is a list, on the average. */
const MEAN = 15;
const CASES = Number(process.env.RAWSTOR_TEST_CASES ?? (LONG ? 1_000_000 : 4_500));
let rig: Rig;
afterEach(() => rig?.close());

/** Two of one kind are refused for the same reasons. */
const kindOf = ({ ended, faults }: MessagesOutcome) =>
  `${ended} ${[...new Set(faults)].sort().join('; ').replace(/\d+/g, 'N')}`;

async function fresh(list: MessageCase[]): Promise<MessagesOutcome> {
  const own = new Rig();
  const passed = createMemfd('passed', 65536);
  try {
    return await sendAll(own, list, passed);
  } finally {
    closeDescriptor(passed);
    await own.close();
  }
}

const openDescriptors = () => readdirSync('/proc/self/fd').length;

test(
  `no message does more than end its connection${LONG ? ' (long)' : ''}`,
  async () => {
    rig = new Rig();
    const passed = createMemfd('passed', 65536);
    const serves = async () => {
      const driver = await rig.queue();
      const { parts, statusAt } = requestParts(driver.front, 0, BlkType.FLUSH, 0);
      driver.add(parts);
      driver.kick.signal();
      await driver.used(1);
      expect(driver.front.bytes[statusAt]).toBe(0);
      driver.front.close();
      driver.front.memory.unmap();
      closeDescriptor(driver.front.fd);
      driver.kick.close();
      driver.call.close();
      await rig.idle();
    };
    await serves();
    const before = openDescriptors();
    const corpus = Corpus.open<MessageCase[], MessagesOutcome>('messages', kindOf);
    await fc.assert(
      fc.asyncProperty(fc.array(messages, { minLength: 1, maxLength: 2 * MEAN }), async (list) => {
        const front = rig.connect();
        rig.faults.length = 0;
        try {
          send(front, list, passed);
          await new Promise((resolve) => setTimeout(resolve, 2));
        } catch {
          // It was ended meanwhile.
        }
        front.close();
        front.memory.unmap();
        closeDescriptor(front.fd);
        await rig.idle();
        corpus.note(list, { answers: [], ended: false, faults: [...rig.faults] });
      }),
      { numRuns: Math.ceil(CASES / MEAN), endOnFailure: true },
    );
    await serves();
    expect(openDescriptors()).toBe(before);
    closeDescriptor(passed);
    await corpus.write(fresh);
  },
  LONG ? 1_200_000 : 60_000,
);

test('every saved list of messages has the answers that it had', async () => {
  const { saved } = Corpus.open<MessageCase[], MessagesOutcome>('messages', kindOf);
  expect(saved.length).toBeGreaterThan(10);
  for (const { input, outcome } of saved) {
    expect(await fresh(input), JSON.stringify(input)).toEqual(outcome);
  }
});

test('a message that arrives byte by byte is answered as any other', async () => {
  rig = new Rig();
  const front = rig.connect();
  const whole = encodeMessage(Request.GET_QUEUE_NUM, 0, Buffer.alloc(0));
  for (const byte of whole) {
    front.socket.send(Buffer.from([byte]));
    await new Promise((resolve) => setImmediate(resolve));
  }
  expect((await front.answer()).payload.readBigUInt64LE()).toBe(4n);
});

test('the in-flight area is not replaced under rings that are started', async () => {
  rig = new Rig();
  const asked = Buffer.alloc(24);
  asked.writeUInt16LE(1, 16);
  asked.writeUInt16LE(64, 18);
  const front = rig.connect();
  await front.negotiate(deviceFeatures(false) & ~maskOf([Feature.RING_PACKED, Feature.LOG_ALL]));
  await front.shareMemory();
  const area = await front.call(Request.GET_INFLIGHT_FD, asked);
  const driver = new Driver(front, 0, 64, false);
  driver.start();
  rig.fault.setRules({ op: BlockOp.FLUSH, hold: true });
  driver.add(requestParts(front, 0, BlkType.FLUSH, 0).parts);
  driver.kick.signal();
  while (rig.fault.heldCount < 1) await new Promise((resolve) => setImmediate(resolve));
  expect(await front.acknowledged(Request.GET_INFLIGHT_FD, asked)).toBe(1);
  rig.fault.release();
  await driver.used(1);
  for (const fd of area.fds) closeDescriptor(fd);
});

test('a region larger than its file is refused, and so is one that overlaps another', async () => {
  rig = new Rig();
  const driver = await rig.queue();
  const region = (guest: number, size: number) => {
    const bytes = Buffer.alloc(40);
    bytes.writeBigUInt64LE(BigInt(guest), 8);
    bytes.writeBigUInt64LE(BigInt(size), 16);
    bytes.writeBigUInt64LE(BigInt(guest) + 0x1000_0000_0000n, 24);
    return bytes;
  };
  const fd = createMemfd('more', 65536);
  const add = (guest: number, size: number) =>
    driver.front.acknowledged(Request.ADD_MEM_REG, region(guest, size), [fd]);
  expect(await add(0x2_0000_0000, 65537)).toBe(1);
  expect(await add(0, 65536)).toBe(1);
  expect(await add(0x2_0000_0000, 65536)).toBe(0);
  const remove = () => driver.front.acknowledged(Request.REM_MEM_REG, region(0x2_0000_0000, 65536));
  expect(await remove()).toBe(0);
  expect(await remove()).toBe(1);
  closeDescriptor(fd);
});
