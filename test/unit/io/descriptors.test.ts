import { mkdtempSync, readFileSync, rmSync, writeSync } from 'node:fs';
import { createConnection } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it, vi } from 'vitest';
import { DescriptorSocket, EventFd, listenDescriptors } from '../../../src/io/index.js';
import { loadNative } from '../../../src/native/index.js';

const EMFILE = 24;

it('a signal waits for nobody, whatever it goes to', () => {
  const [ours, theirs] = DescriptorSocket.pair();
  expect([EventFd.isOne(ours.fd), EventFd.isOne(new EventFd().fd), EventFd.isOne(99_999)]).toEqual([
    false,
    true,
    false,
  ]);
  const wrong = new EventFd(ours.fd);
  for (let i = 0; i < 20_000; i++) wrong.signal();
  ours.close();
  theirs.close();
});

it('a signal is the kernel’s own, which waits for no room in the count', () => {
  const event = new EventFd();
  const fill = Buffer.alloc(8);
  fill.writeBigUInt64LE(0xffff_ffff_ffff_fffen);
  writeSync(event.fd, fill);
  event.signal();
  event.signal();
  expect(readFileSync(`/proc/self/fdinfo/${event.fd}`, 'utf8')).toMatch(/^eventfd-count: *f{16}$/m);
  event.close();
});

it('counts what was signalled', () => {
  const event = new EventFd();
  expect(event.take()).toBe(0);
  event.signal();
  event.signal();
  expect(event.take()).toBe(2);
  expect(event.take()).toBe(0);
  event.close();
});

it('out of descriptors it looks again now and then, and lets in who waits', async () => {
  const root = mkdtempSync(join(tmpdir(), 'rawstor-listen-'));
  const path = join(root, 'socket');
  const native = loadNative();
  const accept = native.socketAccept;
  const spy = vi
    .spyOn(native, 'socketAccept')
    .mockImplementation((fd) => (spy.mock.calls.length < 3 ? -EMFILE : accept(fd)));
  let [turns, letIn] = [0, 0];
  const listener = await listenDescriptors(path, (socket) => {
    letIn++;
    socket.close();
  });
  const client = createConnection(path);
  while (letIn === 0) {
    turns++;
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  expect(spy.mock.calls.length).toBe(3);
  // Level-triggered, it would have been asked again in each turn.
  expect(turns).toBeGreaterThan(20);
  client.destroy();
  listener.close();
  spy.mockRestore();
  rmSync(root, { recursive: true });
});
