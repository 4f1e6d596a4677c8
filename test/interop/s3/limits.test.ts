import { connect } from 'node:net';
import { expect, test } from 'vitest';
import { AccessKeys } from '../../../src/s3-lite/index.js';
import { raw, send } from './raw-request.js';
import { S3Rig } from './rig.js';

/** What bounds a gateway: headers, connections, requests at a time, clients that say nothing. */

test('headers of more than 32 KiB are refused', async () => {
  const s3 = await S3Rig.start();
  try {
    expect((await send(s3, 'GET', '/', { 'x-filler': 'x'.repeat(40_000) })).status).toBe(431);
    expect((await send(s3, 'GET', '/', { 'x-filler': 'x'.repeat(20_000) })).status).toBe(403);
  } finally {
    await s3.end();
  }
}, 60_000);

test('a client that says nothing is dropped, and others are answered meanwhile', async () => {
  const limited = await S3Rig.start({ idleMs: 500, connections: 3 });
  try {
    const silent = Array.from({ length: 2 }, () => connect(limited.port, '127.0.0.1'));
    const closed = Promise.all(
      silent.map((socket) => new Promise((resolve) => socket.once('close', resolve))),
    );
    for (const socket of silent) {
      socket.on('error', () => {});
      socket.write('PUT /x HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n');
    }
    expect((await raw(limited, 'GET', '/')).status).toBe(200);
    await closed;
    // More than may be at a time are not taken; when others go there is room again.
    const holding = Array.from({ length: 3 }, () => connect(limited.port, '127.0.0.1'));
    await Promise.all(holding.map((socket) => new Promise((resolve) => socket.once('connect', resolve))));
    await expect(raw(limited, 'GET', '/')).rejects.toThrow();
    for (const socket of holding) socket.destroy();
    await expect.poll(async () => (await raw(limited, 'GET', '/').catch(() => null))?.status).toBe(200);
  } finally {
    await limited.end();
  }
}, 60_000);

test('more requests at a time than are answered are told to slow down', async () => {
  const limited = await S3Rig.start({ underWay: 1, idleMs: 3000 });
  try {
    expect((await raw(limited, 'PUT', '/held-bucket')).status).toBe(200);
    // Its body does not come.
    const unsigned = { 'content-length': '10' };
    const held = raw(limited, 'PUT', '/held-bucket/k', {
      payload: 'UNSIGNED-PAYLOAD',
      unsigned,
      body: 'abc',
    });
    held.catch(() => {});
    const asked = () => raw(limited, 'GET', '/');
    await expect.poll(async () => (await asked()).code).toBe('SlowDown');
    expect(await asked()).toMatchObject({ status: 503, headers: { 'retry-after': '1' } });
    await expect(held).rejects.toThrow();
    await expect.poll(async () => (await asked()).status).toBe(200);
  } finally {
    await limited.end();
  }
}, 60_000);

test('one key leaves room for another, and what a connection has moved is counted while it lasts', async () => {
  const limited = await S3Rig.start({ underWay: 4 });
  try {
    expect((await raw(limited, 'PUT', '/held-bucket')).status).toBe(200);
    const unsigned = { 'content-length': '10' };
    const held = [1, 2, 3].map((i) =>
      raw(limited, 'PUT', `/held-bucket/k${i}`, { payload: 'UNSIGNED-PAYLOAD', unsigned, body: 'abc' }),
    );
    for (const one of held) one.catch(() => {});
    await expect.poll(async () => (await raw(limited, 'GET', '/')).code).toBe('SlowDown');
    const other = new AccessKeys(limited.s3.store.catalog);
    const { keyId, secret } = await other.create('other', { '*': 'read' }, Date.now());
    expect((await raw(limited, 'GET', '/', { keyId, secret })).status).toBe(200);
    const metrics = await (await fetch(`${limited.url}/metrics`)).text();
    expect(Number(/^rawstor_s3_received_bytes_total (\d+)/m.exec(metrics)?.[1])).toBeGreaterThan(2000);
  } finally {
    await limited.end();
  }
}, 60_000);
