import { mkdtempSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { systemClock } from '../../../src/common/clock.js';
import { MiB } from '../../../src/common/units.js';
import { createIo, type Io, type Listener } from '../../../src/io/index.js';
import {
  Connection,
  type ConnectionHandler,
  decodeFrameHeader,
  encodeBody,
  encodeFrameHeader,
  FRAME_HEADER_BYTES,
  FrameFlag,
  FrameHeader,
  type Identity,
  Opcode,
} from '../../../src/protocol/index.js';

const identity = (role: Identity['role'], clusterId = ''): Identity => ({
  role,
  clusterId,
  name: `test ${role}`,
});

const STAT = { clusterId: 'c', objects: 1, osts: 2, leases: 3, loopStallMaxMs: 4 };

const quiet: ConnectionHandler = {
  call: async () => ({}),
  data: () => {},
  event: () => {},
  closed: () => {},
};

let io: Io;
let directory: string;
let listener: Listener;
let served: ConnectionHandler;
let serverIdentity: Identity;

beforeEach(async () => {
  io = createIo({ poolBytes: 8 << 20 });
  directory = mkdtempSync(join(tmpdir(), 'rawstor-connection-'));
  served = { ...quiet };
  serverIdentity = identity('mds');
  listener = await io.listen(`unix:${directory}/s`, (stream) => {
    Connection.accept(stream, serverIdentity, systemClock, served);
  });
});

afterEach(async () => {
  await listener.close();
  await io.close();
  await rm(directory, { recursive: true });
});

const open = (who = identity('client'), handler: ConnectionHandler = quiet) =>
  Connection.connect(io, listener.address, { identity: who, clock: systemClock, handler, timeoutMs: 2000 });

test('who takes connections and says nothing is waited for as long as was asked', async () => {
  const silent = createServer(() => {}).listen(`${directory}/silent`);
  const options = { identity: identity('client'), clock: systemClock, handler: quiet, timeoutMs: 300 };
  const beganMs = Date.now();
  const refused = Connection.connect(io, `unix:${directory}/silent`, options);
  await expect(refused).rejects.toMatchObject({ code: 'TIMEOUT' });
  expect(Date.now() - beganMs).toBeLessThan(3000);
  silent.close();
});

function frame(opcode: number, body: Buffer, change: Partial<FrameHeader> = {}): Buffer {
  const header = Object.assign(new FrameHeader(), { version: 1, opcode, payloadBytes: body.length }, change);
  const bytes = Buffer.alloc(FRAME_HEADER_BYTES);
  encodeFrameHeader(bytes, 0, header);
  return Buffer.concat([bytes, body]);
}

/** Sends raw bytes, answers what came back until the server closed. */
function raw(bytes: Buffer, pieceBytes = bytes.length): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const socket = connect(`${directory}/s`);
    const got: Buffer[] = [];
    socket.on('data', (data) => got.push(data));
    socket.on('error', () => {});
    socket.on('close', () => resolve(Buffer.concat(got)));
    socket.setTimeout(20_000, () => reject(new Error('the server kept the connection')));
    const write = (at: number) => {
      if (at >= bytes.length || socket.destroyed) return;
      socket.write(bytes.subarray(at, at + pieceBytes), () => setImmediate(() => write(at + pieceBytes)));
    };
    write(0);
  });
}

const hello = (minVersion: number, maxVersion: number, clusterId = '') =>
  frame(Opcode.HELLO, encodeBody({ minVersion, maxVersion, role: 'client', clusterId, name: 'raw' }));

describe('connection', () => {
  test('calls are answered, errors keep code, place and hint', async () => {
    const { RawstorError } = await import('../../../src/common/errors.js');
    served.call = async (_connection, method) => {
      if (method === 'mds.stat') return STAT;
      throw new RawstorError('NOT_FOUND', 'no such volume', { where: 'vm1', hint: 'look again' });
    };
    const connection = await open();
    expect(await connection.call('mds.stat', {})).toEqual(STAT);
    await expect(connection.call('mds.getObj', { ref: 'vm1' })).rejects.toMatchObject({
      code: 'NOT_FOUND',
      message: 'no such volume',
      where: 'vm1',
      hint: 'look again',
    });
    connection.end();
  });

  test('a peer that has ended its side still gets its answers, however long they take', async () => {
    const waiting: (() => void)[] = [];
    served.call = async () => {
      await new Promise<void>((resolve) => waiting.push(resolve));
      return {};
    };
    const socket = connect({ path: `${directory}/s`, allowHalfOpen: true });
    const got: Buffer[] = [];
    socket.on('data', (data) => got.push(data));
    const closed = new Promise((resolve) => socket.on('end', resolve));
    const call = (requestId: number) => frame(Opcode.CALL, encodeBody(['mds.stat', {}]), { requestId });
    socket.end(Buffer.concat([hello(1, 1), call(1), call(2)]));
    await vi.waitFor(() => expect(waiting.length).toBe(2));
    // Both at once: the end must not come between them.
    for (const resolve of waiting) resolve();
    await closed;
    socket.destroy();
    const bytes = Buffer.concat(got);
    const answered: number[] = [];
    const header = new FrameHeader();
    for (let at = 0; at < bytes.length; at += FRAME_HEADER_BYTES + header.payloadBytes) {
      expect(decodeFrameHeader(bytes, at, header)).toBeNull();
      answered.push(header.requestId);
    }
    expect(answered).toEqual([0, 1, 2]);
  });

  test('a malformed answer is not taken for a good one', async () => {
    served.call = async () => ({ objects: 'many' });
    const connection = await open();
    await expect(connection.call('mds.stat', {})).rejects.toMatchObject({ code: 'PROTOCOL' });
    connection.end();
  });

  test('parameters are checked before the server sees them', async () => {
    let seen = 0;
    served.call = async () => {
      seen++;
      return {};
    };
    const connection = await open();
    await expect(connection.call('mds.getObj', { ref: '' })).rejects.toMatchObject({ code: 'INVALID' });
    await expect(connection.call('mds.nothing' as never, {} as never)).rejects.toMatchObject({
      code: 'NOT_SUPPORTED',
    });
    expect(seen).toBe(0);
    connection.end();
  });

  test('an unknown version is refused by name of both sides', async () => {
    const answer = await raw(hello(7, 9));
    expect(answer[5]).toBe(Opcode.HELLO);
    expect(answer.subarray(FRAME_HEADER_BYTES).toString()).toContain('speaks protocol versions 1 to 1');
  });

  test('a server that answers with a version not offered is refused', async () => {
    const body = encodeBody({ minVersion: 9, maxVersion: 9, role: 'mds', clusterId: '', name: 'newer' });
    const server = createServer((socket) => {
      socket.once('data', () => socket.write(frame(Opcode.HELLO, body, { flags: FrameFlag.ANSWER })));
    });
    await new Promise<void>((resolve) => server.listen(`${directory}/newer`, resolve));
    const options = { identity: identity('client'), clock: systemClock, handler: quiet, timeoutMs: 2000 };
    try {
      await expect(Connection.connect(io, `unix:${directory}/newer`, options)).rejects.toMatchObject({
        code: 'VERSION',
        message: expect.stringContaining('the peer 9 to 9'),
      });
    } finally {
      await new Promise((resolve) => server.close(resolve));
    }
  });

  test('another cluster is refused', async () => {
    serverIdentity = identity('mds', 'one');
    await expect(open(identity('client', 'two'))).rejects.toMatchObject({ code: 'DENIED' });
    (await open(identity('client', 'one'))).end();
    (await open(identity('client', ''))).end();
  });

  test('bytes that come one at a time make the same frames', async () => {
    served.call = async () => ({ clusterId: 'c', objects: 0, osts: 0, leases: 0, loopStallMaxMs: 0 });
    const bytes = Buffer.concat([
      hello(1, 1),
      frame(Opcode.CALL, encodeBody(['mds.stat', {}]), { requestId: 5 }),
      frame(Opcode.CALL, Buffer.from([0xc1]), { requestId: 6 }),
    ]);
    const answer = await raw(bytes, 1);
    const second = answer.subarray(FRAME_HEADER_BYTES + answer.readUInt32LE(60));
    expect(second[5]).toBe(Opcode.CALL);
    expect(second.readUInt16LE(6)).toBe(FrameFlag.ANSWER);
    expect(second.readUInt32LE(8)).toBe(5);
    expect(second.readUInt32LE(36)).toBe(0);
  });

  test.each([
    ['garbage', Buffer.alloc(500, 0x41)],
    ['a call before the hello', frame(Opcode.CALL, encodeBody(['mds.stat', {}]))],
    ['two hellos', Buffer.concat([hello(1, 1), hello(1, 1)])],
    ['a hello of the wrong shape', frame(Opcode.HELLO, encodeBody({ minVersion: 'one' }))],
    [
      'a body over the limit',
      Buffer.concat([hello(1, 1), frame(Opcode.CALL, Buffer.alloc(0), { payloadBytes: 1 << 30 })]),
    ],
  ])('%s ends that connection and no other', async (_name, bytes) => {
    served.call = async () => ({ clusterId: 'c', objects: 0, osts: 0, leases: 0, loopStallMaxMs: 0 });
    const good = await open();
    await raw(bytes);
    expect(await good.call('mds.stat', {})).toMatchObject({ clusterId: 'c' });
    good.end();
  });

  test('calls without an answer fail when the connection ends', async () => {
    served.call = (connection) => {
      connection.destroy();
      return new Promise(() => {});
    };
    const connection = await open();
    await expect(connection.call('mds.stat', {})).rejects.toMatchObject({ code: 'CONNECTION_LOST' });
  });

  test('who asks and takes no answers is not asked for more, and holds no buffers of others', async () => {
    const clusterId = 'c'.repeat(900_000);
    let answered = 0;
    served.call = async () => {
      answered++;
      return { clusterId, objects: 0, osts: 0, leases: 0, loopStallMaxMs: 0 };
    };
    const socket = connect(`${directory}/s`).pause();
    socket.on('error', () => {});
    socket.write(hello(1, 1));
    const call = (requestId: number) => frame(Opcode.CALL, encodeBody(['mds.stat', {}]), { requestId });
    for (let i = 1; i <= 200; i++) {
      socket.write(call(i));
      await new Promise((resolve) => setImmediate(resolve));
      expect(io.pool.usedBytes).toBeLessThan(MiB);
    }
    await systemClock.sleep(200);
    expect(answered).toBeLessThan(40);
    socket.destroy();
  });

  test('answers of nearly the largest size arrive whole, many at a time', async () => {
    const objects = 'o'.repeat(1000_000);
    served.call = async () => ({ clusterId: objects, objects: 0, osts: 0, leases: 0, loopStallMaxMs: 0 });
    const connection = await open();
    const answers = await Promise.all(Array.from({ length: 12 }, () => connection.call('mds.stat', {})));
    for (const { clusterId } of answers) expect(clusterId === objects).toBe(true);
    connection.end();
  });

  test('a call that takes too long says so', async () => {
    served.call = () => new Promise(() => {});
    const connection = await open();
    await expect(connection.call('mds.stat', {}, 50)).rejects.toMatchObject({ code: 'TIMEOUT' });
    connection.end();
  });

  test('nobody there is UNAVAILABLE and names the address', async () => {
    const missing = `unix:${directory}/nobody`;
    const options = { identity: identity('client'), clock: systemClock, handler: quiet, timeoutMs: 1000 };
    await expect(Connection.connect(io, missing, options)).rejects.toMatchObject({
      code: expect.stringMatching(/UNAVAILABLE|NOT_FOUND/),
      where: expect.stringContaining('nobody'),
    });
  });
});
