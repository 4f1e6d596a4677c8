import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { seededRandom } from '../../../src/common/random.js';
import { KiB } from '../../../src/common/units.js';
import type { Io } from '../../../src/io/index.js';
import type { RunningOst } from '../../../src/ost/index.js';
import { encodeBody } from '../../../src/protocol/control.js';
import {
  decodeFrameHeader,
  encodeFrameHeader,
  FRAME_HEADER_BYTES,
  FrameFlag,
  FrameHeader,
  Opcode,
} from '../../../src/protocol/frame.js';
import { PROTOCOL_VERSION_CURRENT } from '../../../src/protocol/version.js';
import { objectRecord, openIo, start, temporaryDirectory, until, Writer } from './support.js';

/** Whatever comes to its port, an OST drops the sender or answers an error, and others go on. */

let io: Io;
let ost: RunningOst;
let port: number;
let other: Writer;
const raws: Raw[] = [];

beforeEach(async () => {
  io = openIo();
  ost = await start(io, temporaryDirectory(), { listen: ['tcp://127.0.0.1:0'] });
  port = Number(new URL(ost.addresses[0]!).port);
  other = await Writer.attach(io, ost.addresses[0]!, objectRecord(1), 2);
  expect((await other.write(0, 0, Buffer.alloc(4 * KiB, 7))).status).toBe('OK');
});

afterEach(async () => {
  expect((await other.read(0, 0, 4 * KiB)).bytes.equals(Buffer.alloc(4 * KiB, 7))).toBe(true);
  const late = await Writer.attach(io, ost.addresses[0]!, objectRecord(9), 2);
  expect((await late.write(0, 0, Buffer.alloc(512, 1))).status).toBe('OK');
  for (const client of [other, late]) client.peer.destroy();
  for (const raw of raws.splice(0)) raw.socket.destroy();
  // Nothing of the pool stays behind, whatever was sent.
  await until(() => io.pool.usedBytes === 0);
});

function frame(fields: Partial<FrameHeader>, payload: Uint8Array = Buffer.alloc(0)): Buffer {
  const header = Object.assign(new FrameHeader(), {
    version: PROTOCOL_VERSION_CURRENT,
    payloadBytes: payload.length,
    ...fields,
  });
  const bytes = Buffer.alloc(FRAME_HEADER_BYTES);
  encodeFrameHeader(bytes, 0, header);
  return Buffer.concat([bytes, payload]);
}

const hello = (versions = [PROTOCOL_VERSION_CURRENT, PROTOCOL_VERSION_CURRENT], clusterId = '') =>
  frame(
    { opcode: Opcode.HELLO },
    encodeBody({ minVersion: versions[0], maxVersion: versions[1], role: 'client', clusterId, name: 'x' }),
  );
const call = (requestId: number, method: string, params: unknown) =>
  frame({ opcode: Opcode.CALL, requestId }, encodeBody([method, params]));

/** A bare socket and what came back on it. */
class Raw {
  readonly socket: Socket;
  received = Buffer.alloc(0);
  ended = false;
  private constructor(socket: Socket) {
    this.socket = socket;
    socket.on('data', (bytes) => {
      this.received = Buffer.concat([this.received, bytes]);
    });
    socket.on('error', () => {});
    socket.on('close', () => {
      this.ended = true;
    });
    raws.push(this);
  }
  static async open(...first: Buffer[]): Promise<Raw> {
    const socket = connect(port, '127.0.0.1');
    await once(socket, 'connect');
    const raw = new Raw(socket);
    for (const bytes of first) socket.write(bytes);
    return raw;
  }
  send(...frames: Buffer[]): void {
    for (const bytes of frames) this.socket.write(bytes);
  }
  /** Status of each whole frame received, in order. */
  get statuses(): number[] {
    const found: number[] = [];
    const header = new FrameHeader();
    for (let at = 0; at + FRAME_HEADER_BYTES <= this.received.length; ) {
      expect(decodeFrameHeader(this.received, at, header)).toBeNull();
      found.push(header.status);
      at += FRAME_HEADER_BYTES + header.payloadBytes;
    }
    return found;
  }
  async dropped(): Promise<void> {
    await until(() => this.ended);
  }
}

test('garbage of any length ends the connection', async () => {
  const random = seededRandom(3);
  for (const length of [1, 71, 72, 73, 4096, 300_000]) {
    const raw = await Raw.open(Buffer.from(Array.from({ length }, () => random.below(256))));
    if (length < FRAME_HEADER_BYTES) raw.socket.end();
    await raw.dropped();
    expect(raw.received.length).toBe(0);
  }
});

test('a damaged header, a wrong magic and the wrong first frame end it', async () => {
  const flipped = hello();
  flipped[20]! ^= 1;
  const magic = hello();
  magic[0] = 0;
  for (const bytes of [
    flipped,
    magic,
    call(1, 'ost.stat', {}),
    frame({ opcode: Opcode.READ, length: 512 }),
  ]) {
    await (await Raw.open(bytes)).dropped();
  }
});

test('unknown versions and other clusters are told so, then dropped', async () => {
  const raw = await Raw.open(hello([250, 255]));
  await raw.dropped();
  expect(raw.statuses.length).toBe(1);
  expect(raw.statuses[0]).not.toBe(0);
});

test('lengths beyond the limits end it before anything is received', async () => {
  for (const fields of [
    { opcode: Opcode.WRITE, payloadBytes: 0xffffffff, length: 0xffffffff },
    { opcode: Opcode.WRITE, payloadBytes: 2 ** 21, length: 2 ** 21 },
    { opcode: Opcode.CALL, payloadBytes: 2 ** 21 },
    { opcode: Opcode.HELLO, payloadBytes: 2 ** 21 },
  ]) {
    await (await Raw.open(hello(), frame({ ...fields }).subarray(0, FRAME_HEADER_BYTES))).dropped();
  }
});

test('half a frame, in header or payload, holds up nobody and is forgotten with its connection', async () => {
  const write = frame({ opcode: Opcode.WRITE, length: 64 * KiB }, Buffer.alloc(64 * KiB, 1));
  for (const cut of [1, 40, 72, 100, 60_000]) {
    const raw = await Raw.open(hello(), write.subarray(0, cut));
    expect((await other.read(0, 0, 512)).status).toBe('OK');
    raw.socket.destroy();
  }
});

test('control messages that make no sense are answered errors', async () => {
  const raw = await Raw.open(
    hello(),
    call(1, 'ost.format', {}),
    call(2, 'constructor', {}),
    call(3, 'mds.list', { after: '', limit: 1 }),
    call(4, 'ost.attach', { object: 7 }),
    call(5, 'ost.attach', {
      object: { ...objectRecord(3), id: '../../../etc' },
      sessionEpoch: 1,
      sessionNumber: 1,
    }),
    call(6, 'ost.deleteObject', { objectId: '../../x' }),
    call(7, 'ost.extents', { handle: 1, chunk: 0, chunkVersion: 1, offset: 0, length: 2 ** 50 }),
    call(8, 'ost.regions', { handle: 0, since: -1, from: null }),
    call(9, 'ost.stat', {}),
  );
  await until(() => raw.statuses.length === 10);
  expect(raw.statuses.filter((status) => status === 0).length).toBe(2);
  const broken = await Raw.open(hello(), frame({ opcode: Opcode.CALL }, Buffer.from([0xc1, 0xff])));
  await broken.dropped();
});

test('a mebibyte of nils ends its connection; as many as are let in are answered one error', async () => {
  const body = (nils: number) => {
    const start = Buffer.from(encodeBody(['ost.keepObject', { object: { members: [] } }])).subarray(0, -1);
    const count = Buffer.from([0xdd, 0, 0, 0, 0]);
    count.writeUInt32BE(nils, 1);
    return Buffer.concat([start, count, Buffer.alloc(nils, 0xc0)]);
  };
  const full = await Raw.open(hello(), frame({ opcode: Opcode.CALL }, body(2 ** 20 - 100)));
  await full.dropped();
  expect(full.statuses).toEqual([0]);
  const some = await Raw.open(
    hello(),
    frame({ opcode: Opcode.CALL }, body(200_000)),
    call(2, 'ost.stat', {}),
  );
  await until(() => some.statuses.length === 3);
  expect(some.statuses.filter((status) => status === 0)).toHaveLength(2);
});

test('data frames without a session, or of another, are refused one by one', async () => {
  const raw = await Raw.open(
    hello(),
    frame({ opcode: Opcode.READ, handle: 1, length: 512, sessionEpoch: 2, sessionNumber: 1 }),
    frame({ opcode: Opcode.WRITE, handle: 1, length: 512, tag: 9 }, Buffer.alloc(512, 9)),
    frame({ opcode: Opcode.WRITE, handle: 1, length: 9999, tag: 9 }, Buffer.alloc(512, 9)),
    frame({ opcode: Opcode.ERASE, handle: 1, length: 4096, tag: 9 }),
    frame({ opcode: Opcode.FLUSH, handle: 1 }),
    frame({ opcode: 200, handle: 1 }),
  );
  await until(() => raw.statuses.length === 7);
  expect(raw.statuses.slice(1).every((status) => status !== 0)).toBe(true);
});

test('a payload where none belongs ends the connection and keeps nothing of the pool', async () => {
  for (let i = 0; i < 8; i++) {
    const read = frame({ opcode: Opcode.READ, length: 4096, handle: 1 }, Buffer.alloc(1024, 1));
    await (await Raw.open(hello(), read)).dropped();
  }
});

test('whoever ends its side gets the answers to what it had asked', async () => {
  const reads = Array.from({ length: 40 }, (_, i) =>
    frame({ opcode: Opcode.READ, length: 4096, requestId: i + 10 }),
  );
  const raw = await Raw.open(hello(), call(1, 'ost.stat', {}), ...reads, call(2, 'ost.stat', {}));
  raw.socket.end();
  await raw.dropped();
  expect(raw.statuses.length).toBe(43);
});

test('an answer nobody asked for, and a flood of refused frames that is not read, harm nobody', async () => {
  const raw = await Raw.open(hello(), frame({ opcode: Opcode.READ, flags: FrameFlag.ANSWER, length: 512 }));
  raw.socket.pause();
  const many = Buffer.concat(Array.from({ length: 2000 }, () => frame({ opcode: Opcode.READ, length: 512 })));
  for (let i = 0; i < 20; i++) raw.send(many);
  expect((await other.write(1, 0, Buffer.alloc(512, 1))).status).toBe('OK');
  raw.socket.destroy();
});

test('frames cut and joined at any byte are the same frames', async () => {
  const stream = Buffer.concat([
    hello(),
    call(1, 'ost.stat', {}),
    frame({ opcode: Opcode.PING }),
    call(2, 'x', {}),
  ]);
  for (let size = 1; size < 100; size += 11) {
    const raw = await Raw.open();
    raw.socket.setNoDelay(true);
    for (let at = 0; at < stream.length; at += size) {
      raw.send(stream.subarray(at, at + size));
      await new Promise(setImmediate);
    }
    await until(() => raw.statuses.length === 4);
    expect(raw.statuses.filter((status) => status === 0).length).toBe(2);
    raw.socket.destroy();
  }
});
