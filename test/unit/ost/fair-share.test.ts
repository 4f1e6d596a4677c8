import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { expect, test } from 'vitest';
import { systemClock } from '../../../src/common/clock.js';
import { KiB, MiB } from '../../../src/common/units.js';
import { decodeBody } from '../../../src/protocol/control.js';
import { decodeFrameHeader, FRAME_HEADER_BYTES, FrameHeader, Opcode } from '../../../src/protocol/frame.js';
import { call, frame, HELLO } from '../../fixtures/raw-peer.js';
import { atEnd, objectRecord, openIo, start, temporaryDirectory, until, Writer } from './support.js';

/** Peers that read much of an OST and take nothing of it. */

/** Attaches to an object of its own, asks for a hundred mebibytes of it and reads no answer. */
async function greedy(address: string, number: number): Promise<Socket> {
  const socket = connect(address.slice('unix:'.length));
  atEnd(() => socket.destroy());
  socket.on('error', () => {});
  await once(socket, 'connect');
  const asked = { object: objectRecord(number), sessionEpoch: 2, sessionNumber: 1 };
  socket.write(Buffer.concat([HELLO, call(1, 'ost.attach', asked)]));
  const header = new FrameHeader();
  let received = Buffer.alloc(0);
  let handle: number | null = null;
  while (handle === null) {
    const [bytes] = (await once(socket, 'data')) as [Buffer];
    received = Buffer.concat([received, bytes]);
    for (
      let at = 0;
      at + FRAME_HEADER_BYTES <= received.length;
      at += FRAME_HEADER_BYTES + header.payloadBytes
    ) {
      expect(decodeFrameHeader(received, at, header)).toBeNull();
      const body = received.subarray(at + FRAME_HEADER_BYTES, at + FRAME_HEADER_BYTES + header.payloadBytes);
      if (header.opcode !== Opcode.CALL || body.length < header.payloadBytes) continue;
      handle = (decodeBody(body) as { handle: number }).handle;
    }
  }
  socket.pause();
  const common = { opcode: Opcode.READ, handle, sessionEpoch: 2, sessionNumber: 1, chunkVersion: 1 };
  for (let i = 0; i < 100; i++)
    socket.write(frame({ ...common, requestId: i + 2, chunk: i % 4, length: MiB }));
  return socket;
}

test('leave others what they need for small reads and for one large one', async () => {
  const ost = await start(openIo(), temporaryDirectory());
  const address = ost.addresses[0]!;
  for (let number = 1; number <= 12; number++) await greedy(address, number);
  await systemClock.sleep(300);
  const other = await Writer.attach(openIo(), address, objectRecord(99), 2);
  expect((await other.write(0, 0, Buffer.alloc(MiB, 7))).status).toBe('OK');
  const began = performance.now();
  for (let round = 0; round < 5; round++) {
    const small = Array.from({ length: 32 }, (_, i) => other.read(0, i * 4 * KiB, 4 * KiB));
    for (const { bytes } of await Promise.all(small))
      expect(bytes.equals(Buffer.alloc(4 * KiB, 7))).toBe(true);
    expect((await other.read(0, 0, MiB)).bytes.equals(Buffer.alloc(MiB, 7))).toBe(true);
  }
  expect(performance.now() - began).toBeLessThan(3000);
});

test('a peer that leaves while its reads wait for memory leaves nothing behind', async () => {
  const io = openIo();
  const ost = await start(io, temporaryDirectory());
  const sockets = [];
  for (let number = 1; number <= 8; number++) sockets.push(await greedy(ost.addresses[0]!, number));
  await systemClock.sleep(300);
  expect(io.pool.usedBytes).toBeGreaterThan(8 * MiB);
  for (const socket of sockets) socket.destroy();
  await until(() => io.pool.usedBytes === 0);
});
