import { once } from 'node:events';
import { createServer, type ServerResponse } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { expect, test } from 'vitest';
import { systemClock } from '../../../src/common/clock.js';
import { MiB } from '../../../src/common/units.js';
import { OutgoingBody } from '../../../src/s3-lite/outgoing.js';

/** Content that a client takes, quickly, slowly or not at all. */

const pace = { bytesPerSecond: 512, windowMs: 300 };

async function served(write: (response: ServerResponse) => Promise<void>) {
  let outcome: Promise<string> = Promise.resolve('');
  const server = createServer((_, response) => {
    outcome = write(response).then(
      () => 'done',
      (error) => {
        response.destroy();
        return error.code;
      },
    );
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const socket = connect((server.address() as AddressInfo).port, '127.0.0.1');
  socket.on('error', () => {});
  socket.write('GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n');
  return { server, socket, outcome: () => outcome };
}

async function write(response: ServerResponse): Promise<void> {
  const body = new OutgoingBody(response, systemClock, pace);
  for (let i = 0; i < 32; i++) await body.write(Buffer.alloc(MiB, i));
  response.end();
}

test('who takes it gets all of it', async () => {
  const { server, socket, outcome } = await served(write);
  let bytes = 0;
  socket.on('data', (piece) => {
    bytes += piece.length;
  });
  await once(socket, 'close');
  expect(await outcome()).toBe('done');
  expect(bytes).toBeGreaterThan(32 * MiB);
  server.close();
});

test('who takes nothing is dropped, and no more than a piece is held for it', async () => {
  const held: number[] = [];
  const { server, socket, outcome } = await served(async (response) => {
    const timer = setInterval(() => held.push(response.writableLength), 20);
    await write(response).finally(() => clearInterval(timer));
  });
  socket.pause();
  await expect.poll(() => outcome(), { timeout: 5000 }).toBe('ERR_STREAM_PREMATURE_CLOSE');
  expect(Math.max(...held)).toBeLessThan(2 * MiB);
  socket.destroy();
  server.close();
});
