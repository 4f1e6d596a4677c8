import { connect as netConnect } from 'node:net';
import fc from 'fast-check';
import { describe, expect, it, vi } from 'vitest';
import { LIMITS } from '../../../src/common/limits.js';
import { heapMemory, type PoolBuffer, type Stream } from '../../../src/io/index.js';
import {
  atEnd,
  connectedPair,
  KINDS,
  LengthFrames,
  lengthHeader,
  openIo,
  pattern,
  sendFrame,
  until,
  whenClosed,
} from './support.js';

const MiB = 1024 * 1024;

/** Answers each frame with the same bytes, sent from the very buffer they came in. */
function echo(stream: Stream): void {
  stream.receive(
    new LengthFrames((buffer, offset, lengthBytes) => {
      stream.sendCopy(lengthHeader(lengthBytes));
      if (buffer !== null) stream.send(buffer.memory, offset, lengthBytes, buffer.retain());
    }),
  );
}

describe.each(KINDS)('streams on %s', (kind) => {
  it.each(['tcp', 'unix'] as const)('echo frames of any size over %s', async (transport) => {
    const io = openIo(kind, { poolBytes: 64 * MiB });
    const [client, server] = await connectedPair(io, transport);
    echo(server);
    let expected: Buffer[] = [];
    client.receive(
      new LengthFrames((buffer, offset, lengthBytes) => {
        const bytes = buffer?.memory.bytes.subarray(offset, offset + lengthBytes) ?? Buffer.alloc(0);
        const wanted = expected.shift()!;
        if (!bytes.equals(wanted)) throw new Error(`wrong bytes in a frame of ${lengthBytes}`);
      }),
    );
    const sizes = fc.oneof(
      { weight: 5, arbitrary: fc.integer({ min: 0, max: 5000 }) },
      { weight: 2, arbitrary: fc.integer({ min: 0, max: 100_000 }) },
      { weight: 1, arbitrary: fc.constantFrom(MiB, MiB - 1, 262144) },
    );
    await fc.assert(
      fc.asyncProperty(fc.array(sizes, { maxLength: 12 }), fc.integer(), async (list, seed) => {
        expected = list.map((size, i) => pattern(size, seed + i));
        for (const payload of expected.slice()) sendFrame(client, payload);
        await until(() => expected.length === 0, 'all frames echoed');
      }),
      { numRuns: 40 },
    );
    expect([client.queuedBytes, server.queuedBytes]).toEqual([0, 0]);
  });

  it('cuts frames out of bytes that come in any pieces', async () => {
    const io = openIo(kind);
    const listener = await io.listen('tcp://127.0.0.1:0', (stream) => {
      stream.receive(
        new LengthFrames((buffer, offset, lengthBytes) => {
          got.push(Buffer.from(buffer?.memory.bytes.subarray(offset, offset + lengthBytes) ?? []));
        }),
      );
    });
    let got: Buffer[] = [];
    const socket = netConnect(Number(/\d+$/.exec(listener.address)![0]));
    socket.setNoDelay(true);
    const random = fc.integer({ min: 1, max: 3000 });
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.integer({ min: 0, max: 20_000 }), { maxLength: 20 }),
        fc.array(random, { minLength: 1, maxLength: 30 }),
        async (sizes, cuts) => {
          got = [];
          const payloads = sizes.map(pattern);
          const bytes = Buffer.concat(payloads.flatMap((payload) => [lengthHeader(payload.length), payload]));
          for (let at = 0, i = 0; at < bytes.length; i++) {
            const size = cuts[i % cuts.length]!;
            socket.write(bytes.subarray(at, at + size));
            at += size;
            if (i % 5 === 0) await new Promise((resolve) => setImmediate(resolve));
          }
          await until(() => got.length === sizes.length, 'all frames');
          expect(Buffer.concat(got).equals(Buffer.concat(payloads))).toBe(true);
        },
      ),
      { numRuns: 30 },
    );
    socket.destroy();
  });

  it('carries thousands of small frames both ways at once', async () => {
    const io = openIo(kind);
    const [client, server] = await connectedPair(io);
    const count = 20_000;
    const received = [0, 0];
    [client, server].forEach((stream, side) => {
      stream.receive(
        new LengthFrames((buffer, offset, lengthBytes) => {
          const wanted = received[side]!++;
          if (buffer!.memory.bytes.readUInt32LE(offset) !== wanted) throw new Error('out of order');
          if (lengthBytes !== 4 + (wanted % 60)) throw new Error('wrong length');
        }),
      );
    });
    for (let i = 0; i < count; i++) {
      const payload = Buffer.alloc(4 + (i % 60));
      payload.writeUInt32LE(i);
      sendFrame(client, payload);
      sendFrame(server, payload);
      if (i % 500 === 0) await new Promise((resolve) => setImmediate(resolve));
    }
    await until(() => received[0] === count && received[1] === count, 'all frames');
  });

  it('does not overwrite what a handler retained', async () => {
    const io = openIo(kind, { poolBytes: 64 * MiB });
    const [client, server] = await connectedPair(io);
    const kept: { buffer: PoolBuffer; offset: number; index: number }[] = [];
    let count = 0;
    server.receive(
      new LengthFrames((buffer, offset) => {
        kept.push({ buffer: buffer!.retain(), offset, index: count++ });
      }),
    );
    for (let i = 0; i < 600; i++) {
      sendFrame(client, pattern(1 + ((i * 7919) % 30_000), i));
      if (i % 20 === 0) await new Promise((resolve) => setTimeout(resolve, 1));
    }
    await until(() => count === 600, 'all frames');
    for (const { buffer, offset, index } of kept) {
      const length = 1 + ((index * 7919) % 30_000);
      expect(buffer.memory.bytes.subarray(offset, offset + length).equals(pattern(length, index))).toBe(true);
      buffer.release();
    }
  });

  it('pauses and resumes, also from within the handler', async () => {
    const io = openIo(kind);
    const [client, server] = await connectedPair(io);
    let seen = 0;
    server.receive(
      new LengthFrames(() => {
        seen++;
        server.pause();
        if (seen === 2) server.resume();
      }),
    );
    for (let i = 0; i < 5; i++) sendFrame(client, pattern(1000, i));
    await until(() => seen === 1, 'the first frame');
    await new Promise((resolve) => setTimeout(resolve, 30));
    expect(seen).toBe(1);
    server.resume();
    await until(() => seen === 3, 'the second resumes by itself');
    await new Promise((resolve) => setTimeout(resolve, 30));
    expect(seen).toBe(3);
    server.resume();
    await until(() => seen === 4, 'the fourth');
  });

  it('changes its framing between two frames of one gulp', async () => {
    const io = openIo(kind);
    const [client, server] = await connectedPair(io);
    const seen: string[] = [];
    const words = {
      headerBytes: 2,
      header: () => 0,
      frame: () => seen.push('word'),
    };
    server.receive(
      new LengthFrames((_buffer, _offset, lengthBytes) => {
        seen.push(`frame ${lengthBytes}`);
        server.receive(words);
      }),
    );
    client.sendCopy(Buffer.concat([lengthHeader(5), Buffer.from('hello'), Buffer.from('abcd')]));
    await until(() => seen.length === 3, 'all');
    expect(seen).toEqual(['frame 5', 'word', 'word']);
  });

  it('keeps memory bounded behind a slow reader and says when it has drained', async () => {
    const io = openIo(kind, { poolBytes: 64 * MiB });
    const [client, server] = await connectedPair(io, 'unix');
    let drained = 0;
    client.onDrain = () => drained++;
    const payload = io.pool.acquire(MiB)!;
    let released = 0;
    const owner = { release: () => released++ };
    let sent = 0;
    while (client.queuedBytes <= LIMITS.connectionQueuedBytes) {
      client.sendCopy(lengthHeader(MiB));
      client.send(payload.memory, payload.offset, MiB, owner);
      sent++;
    }
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(drained).toBe(0);
    expect(client.queuedBytes).toBeGreaterThan(LIMITS.connectionQueuedBytes - 4 * MiB);
    let got = 0;
    server.receive(new LengthFrames(() => got++));
    await until(() => drained === 1, 'drain');
    expect(client.queuedBytes).toBeLessThanOrEqual(LIMITS.connectionQueuedBytes / 2);
    await until(() => got === sent && released === sent, 'the rest');
    expect(drained).toBe(1);
    payload.release();
  });

  it('stops receiving while the pool is empty and goes on when it is not', async () => {
    const io = openIo(kind, { poolBytes: 8 * MiB });
    const other = openIo(kind);
    const kept: PoolBuffer[] = [];
    let count = 0;
    const listener = await io.listen('tcp://127.0.0.1:0', (stream) => {
      stream.receive(
        new LengthFrames((buffer, offset, lengthBytes) => {
          if (
            !buffer!.memory.bytes.subarray(offset, offset + lengthBytes).equals(pattern(lengthBytes, count))
          ) {
            throw new Error('wrong bytes');
          }
          kept.push(buffer!.retain());
          count++;
        }),
      );
    });
    const client = await other.connect(listener.address, { timeoutMs: 1000 });
    for (let i = 0; i < 20; i++) sendFrame(client, pattern(900_000, i));
    await until(() => count >= 5, 'some');
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(count).toBeLessThan(9);
    while (count < 20) {
      for (const buffer of kept.splice(0)) buffer.release();
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
    for (const buffer of kept) buffer.release();
  });

  it('sends memory that only JavaScript knows, of any length', async () => {
    const io = openIo(kind);
    const [client, server] = await connectedPair(io);
    const got: Buffer[] = [];
    server.receive(
      new LengthFrames((buffer, offset, lengthBytes) => {
        got.push(Buffer.from(buffer!.memory.bytes.subarray(offset, offset + lengthBytes)));
      }),
    );
    const bytes = Buffer.concat(
      [MiB, 300_000, MiB, 17].map((size, i) => Buffer.concat([lengthHeader(size), pattern(size, i)])),
    );
    client.sendCopy(bytes);
    const heap = heapMemory(9);
    lengthHeader(5).copy(heap.bytes);
    let released = 0;
    client.send(heap, 0, 9, { release: () => released++ });
    await until(() => got.length === 5, 'all');
    expect(got.slice(0, 4).map((frame, i) => frame.equals(pattern(frame.length, i)))).toEqual(
      new Array(4).fill(true),
    );
    expect(released).toBe(1);
    await until(() => client.queuedBytes === 0, 'sent');
  });

  it('tells an orderly end from a loss', async () => {
    const io = openIo(kind);
    {
      const [client, server] = await connectedPair(io);
      server.receive(new LengthFrames(() => {}));
      client.receive(new LengthFrames(() => {}));
      const ends = Promise.all([whenClosed(client), whenClosed(server)]);
      client.end();
      expect(await ends).toEqual([null, null]);
      expect([client.closed, server.closed]).toEqual([true, true]);
    }
    {
      const [client, server] = await connectedPair(io);
      server.receive(new LengthFrames(() => {}));
      const lost = whenClosed(server);
      client.sendCopy(Buffer.concat([lengthHeader(100), Buffer.alloc(50)]));
      client.end();
      expect(await lost).toMatchObject({ code: 'CONNECTION_LOST' });
    }
    {
      const [client, server] = await connectedPair(io);
      server.receive(new LengthFrames(() => {}));
      const lost = whenClosed(client);
      const failure = new Error('mine');
      const payload = io.pool.acquire(MiB)!;
      let released = 0;
      for (let i = 0; i < 10; i++)
        client.send(payload.memory, payload.offset, MiB, { release: () => released++ });
      client.destroy(failure);
      expect(await lost).toBe(failure);
      expect(released).toBe(10);
      payload.release();
    }
  });

  it('reports a reset, with what was queued released first', async () => {
    const io = openIo(kind, { poolBytes: 64 * MiB });
    const listener = await io.listen('tcp://127.0.0.1:0', (stream) => {
      const payload = io.pool.acquire(MiB)!;
      for (let i = 0; i < 12; i++) {
        sent++;
        stream.send(payload.memory, payload.offset, MiB, { release: () => sent-- });
      }
      stream.receive(new LengthFrames(() => {}));
      stream.onClose = (error) => {
        closed = { error, sent };
        payload.release();
      };
    });
    let sent = 0;
    let closed: { error: Error | null; sent: number } | null = null;
    const socket = netConnect(Number(/\d+$/.exec(listener.address)![0]));
    socket.on('error', () => {});
    await new Promise((resolve) => socket.once('data', resolve));
    socket.resetAndDestroy();
    await until(() => closed !== null, 'closed');
    expect(closed).toMatchObject({ error: { code: 'CONNECTION_LOST' }, sent: 0 });
  });

  it('answers requests that came before the other side ended', async () => {
    const io = openIo(kind);
    const listener = await io.listen('tcp://127.0.0.1:0', echo);
    const socket = netConnect({
      host: '127.0.0.1',
      port: Number(/\d+$/.exec(listener.address)![0]),
      allowHalfOpen: true,
    });
    const chunks: Buffer[] = [];
    socket.on('data', (chunk) => chunks.push(chunk));
    const request = Buffer.concat([lengthHeader(300_000), pattern(300_000, 1)]);
    socket.end(request);
    await new Promise((resolve) => socket.once('end', resolve));
    expect(Buffer.concat(chunks).equals(request)).toBe(true);
  });

  it('the last answer survives requests that nobody reads any more', async () => {
    const io = openIo(kind);
    for (let round = 0; round < 20; round++) {
      const [client, server] = await connectedPair(io);
      server.receive(
        new LengthFrames(() => {
          sendFrame(server, pattern(200_000, 7));
          server.end();
        }),
      );
      let answered = false;
      client.receive(
        new LengthFrames((_buffer, _offset, lengthBytes) => {
          answered = lengthBytes === 200_000;
        }),
      );
      for (let i = 0; i < 40; i++) sendFrame(client, pattern(10_000, i));
      await whenClosed(client);
      expect(answered).toBe(true);
    }
  });

  it('survives being destroyed in each of its callbacks', async () => {
    const io = openIo(kind);
    for (const place of ['header', 'frame', 'drain', 'release'] as const) {
      const [client, server] = await connectedPair(io);
      const closed = whenClosed(server);
      // Asked for before: both sides may close in one turn.
      const clientClosed = whenClosed(client);
      const payload = io.pool.acquire(MiB)!;
      const kill = (where: string) => {
        if (where === place) server.destroy(new Error(place));
      };
      server.onDrain = () => kill('drain');
      server.receive({
        headerBytes: 4,
        header: (memory, offset) => {
          kill('header');
          return memory.bytes.readUInt32LE(offset);
        },
        frame: (buffer, offset, lengthBytes) => {
          kill('frame');
          expect(
            buffer!.memory.bytes.subarray(offset, offset + lengthBytes).equals(pattern(lengthBytes, 1)),
          ).toBe(true);
        },
      });
      client.receive(new LengthFrames(() => {}));
      for (let i = 0; i < 3; i++) sendFrame(client, pattern(5000, 1));
      if (place === 'drain' || place === 'release') {
        let left = 17;
        while (left-- > 0) {
          server.sendCopy(lengthHeader(MiB));
          server.send(payload.memory, payload.offset, MiB, { release: () => kill('release') });
        }
      }
      expect(await closed).toMatchObject({ message: place });
      await clientClosed;
      payload.release();
    }
    expect(io.pool.usedBytes).toBe(0);
  });

  it('gives everything back when it closes with work under way', async () => {
    const io = openIo(kind, { poolBytes: 64 * MiB });
    const [client, server] = await connectedPair(io);
    echo(server);
    client.receive(new LengthFrames(() => {}));
    let released = 0;
    const payload = io.pool.acquire(MiB)!;
    for (let i = 0; i < 20; i++) {
      client.sendCopy(lengthHeader(MiB));
      client.send(payload.memory, payload.offset, MiB, { release: () => released++ });
    }
    const ends = Promise.all([whenClosed(client), whenClosed(server)]);
    await new Promise((resolve) => setTimeout(resolve, 2));
    await io.close();
    await ends;
    expect(released).toBe(20);
    payload.release();
    expect(io.pool.usedBytes).toBe(0);
    expect(io.pool.memory.bytes.length).toBe(0);
  });

  it('ends those that stand still in a message when others find no memory', async () => {
    const io = openIo(kind, { poolBytes: 4 * MiB });
    const ends: (Error | null)[] = [];
    const listener = await io.listen('tcp://127.0.0.1:0', (stream) => {
      stream.onClose = (error) => ends.push(error);
      echo(stream);
    });
    const port = Number(/\d+$/.exec(listener.address)![0]);
    const open = async () => {
      const socket = netConnect(port, '127.0.0.1');
      socket.on('error', () => {});
      atEnd(() => socket.destroy());
      await new Promise((resolve) => socket.once('connect', resolve));
      return socket;
    };
    const refused = vi.fn(io.pool.onRefused!);
    io.pool.onRefused = refused;
    const realTimeout = setTimeout;
    const eventually = async (condition: () => boolean) => {
      for (let i = 0; i < 2000 && !condition(); i++) await new Promise((done) => realTimeout(done, 5));
      expect(condition()).toBe(true);
    };
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    try {
      const idle = await open();
      // One mebibyte of the pool is for beginnings; these take the rest, and nothing is left for another.
      const halves = await Promise.all(Array.from({ length: 3 }, open));
      for (const socket of halves) socket.write(Buffer.concat([lengthHeader(MiB), Buffer.alloc(500_000)]));
      await eventually(() => io.pool.usedBytes >= 3 * MiB);
      const honest = await open();
      const request = Buffer.concat([lengthHeader(MiB), pattern(MiB, 3)]);
      const answer: Buffer[] = [];
      honest.on('data', (bytes) => answer.push(bytes));
      honest.write(request);
      await eventually(() => refused.mock.calls.length > 0);
      for (let i = 0; i < 20 && ends.length === 0; i++) {
        vi.advanceTimersByTime(10_000);
        await new Promise((resolve) => realTimeout(resolve, 50));
      }
      await eventually(() => Buffer.concat(answer).length === request.length);
      expect(Buffer.concat(answer).equals(request)).toBe(true);
      expect(ends.length).toBeGreaterThan(0);
      for (const error of ends) expect(error).toMatchObject({ code: 'TIMEOUT' });
      expect(idle.destroyed || honest.destroyed).toBe(false);
    } finally {
      vi.useRealTimers();
    }
  });

  it('gives back what lies ready for what does not come, and loses nothing of what comes after all', async () => {
    const io = openIo(kind);
    const [client, server] = await connectedPair(io, 'unix');
    const came: Buffer[] = [];
    server.receive(
      new LengthFrames((buffer, offset, length) => {
        came.push(Buffer.from(buffer!.memory.bytes.subarray(offset, offset + length)));
        if (came.length % 3 === 0) server.shrink();
      }),
    );
    client.receive(new LengthFrames(() => {}));
    const sent: Buffer[] = [];
    for (let i = 0; i < 300; i++) {
      sent.push(pattern(10_000 + ((i * 7919) % 30_000), i));
      sendFrame(client, sent[i]!);
      sendFrame(server, pattern(100, i));
      if (i % 20 === 0) await new Promise((resolve) => setImmediate(resolve));
      if (i % 7 === 0) server.shrink();
    }
    await until(() => came.length === 300, 'all');
    expect(Buffer.concat(came).equals(Buffer.concat(sent))).toBe(true);
    for (let i = 0; i < 100; i++) sendFrame(client, sent[i]!);
    await until(() => came.length === 400, 'more');
    server.shrink();
    await until(() => server.receivingBytes <= 4096, 'little lies ready');
    sendFrame(client, sent[0]!);
    await until(() => came.length === 401, 'one more');
    expect(came[400]!.equals(sent[0]!)).toBe(true);
    client.destroy();
    server.destroy();
  });

  it('finds memory that lies ready for connections that have fallen silent', async () => {
    const io = openIo(kind, { poolBytes: 4 * MiB });
    const listener = await io.listen('tcp://127.0.0.1:0', echo);
    const port = Number(new URL(listener.address).port);
    const talk = async (payload: Buffer, times: number) => {
      const socket = netConnect(port, '127.0.0.1');
      atEnd(() => socket.destroy());
      let bytes = 0;
      socket.on('data', (data) => {
        bytes += data.length;
      });
      const frames = Array.from({ length: times }, () => [lengthHeader(payload.length), payload]).flat();
      socket.write(Buffer.concat(frames));
      await until(() => bytes === times * (payload.length + 4), 'all of it');
    };
    for (let i = 0; i < 16; i++) await talk(pattern(10_000, i), 100);
    await talk(pattern(900_000, 1), 1);
  });

  it('many connections at once', async () => {
    const io = openIo(kind, { poolBytes: 64 * MiB });
    const listener = await io.listen('tcp://127.0.0.1:0', echo);
    let echoed = 0;
    const clients = await Promise.all(
      Array.from({ length: 200 }, async (_, i) => {
        const client = await io.connect(listener.address, { timeoutMs: 5000 });
        atEnd(() => client.destroy());
        client.receive(new LengthFrames(() => echoed++));
        for (let k = 0; k < 10; k++) sendFrame(client, pattern(3000, i));
        return client;
      }),
    );
    await until(() => echoed === 2000, 'all');
    expect(clients.every((client) => !client.closed)).toBe(true);
  });
});
