import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { createIo, type Io } from '../../../src/io/index.js';
import { UringListener } from '../../../src/io/uring-listener.js';

/** Names that have several addresses, of which one does not answer. */

const found = vi.hoisted(() => ({ addresses: [] as string[] }));
vi.mock('node:dns/promises', () => ({
  lookup: async (_host: string, options?: { all?: boolean }) => {
    const all = found.addresses.map((address) => ({ address, family: address.includes(':') ? 6 : 4 }));
    return options?.all === true ? all : all[0];
  },
}));

let io: Io;
beforeEach(() => {
  io = createIo({ poolBytes: 1 << 20 });
});
afterEach(() => io.close());

async function listen(): Promise<{ port: string; close(): Promise<void> }> {
  const listener = await io.listen('tcp://127.0.0.2:0', (stream) => stream.destroy());
  return { port: listener.address.split(':').at(-1)!, close: () => listener.close() };
}

test.each([
  ['is not listened on', '127.0.0.3'],
  // Reserved for documents: nobody answers, or nobody is on the way.
  ['is silent', '192.0.2.1'],
])('one that %s: the next is tried, within the time for all', async (_what, address) => {
  const server = await listen();
  found.addresses = [address, '127.0.0.2'];
  const stream = await io.connect(`tcp://host.example:${server.port}`, { timeoutMs: 2000 });
  stream.destroy();
  found.addresses = [address, '127.0.0.3'];
  await expect(io.connect(`tcp://host.example:${server.port}`, { timeoutMs: 500 })).rejects.toMatchObject({
    code: 'UNAVAILABLE',
  });
  await server.close();
});

test.each([
  ['out of memory', 12],
  ['forbidden', 1],
])('an accept that is %s is not tried again at once', async (_what, errno) => {
  vi.useFakeTimers();
  const queued: number[] = [];
  const ring = { queue: (_user: unknown, kind: number) => queued.push(kind) };
  const listening = { fd: -1, address: 'unix:/x', path: null, inode: 0 };
  const noop = () => {};
  const listener = new UringListener(ring as never, listening, noop, noop);
  listener.completed(0, null, 0, -errno);
  expect(queued).toHaveLength(1);
  vi.advanceTimersByTime(100);
  expect(queued).toHaveLength(2);
  vi.useRealTimers();
});
