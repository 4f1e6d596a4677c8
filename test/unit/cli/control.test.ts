import { spawnSync } from 'node:child_process';
import {
  existsSync,
  lstatSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { createConnection, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { ControlServer, callControl } from '../../../src/cli/gateway/control.js';

let root: string;
let path: string;
let server: ControlServer;
let answer: () => void;
const sockets: Socket[] = [];

beforeEach(async () => {
  root = mkdtempSync(join(tmpdir(), 'rawstor-control-'));
  path = join(root, 'control.sock');
  const slow = new Promise<void>((resolve) => {
    answer = resolve;
  });
  server = await ControlServer.listen(path, async ({ method }) => {
    if (method === 'slow') await slow;
    if (method === 'status')
      return { exports: Array.from({ length: 1024 }, (_, i) => [`vm${i}`, 'x'.repeat(500)]) };
    return { method };
  });
});

afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy();
  await server.close();
  rmSync(root, { recursive: true, force: true });
});

async function open(): Promise<Socket> {
  const socket = createConnection({ path, allowHalfOpen: true });
  sockets.push(socket);
  socket.on('error', () => {});
  await new Promise((resolve) => socket.once('connect', resolve));
  return socket;
}

async function rest(socket: Socket): Promise<string> {
  let text = '';
  for await (const piece of socket.setEncoding('utf8')) text += piece;
  return text;
}

it('answers a client that has ended its side, however long it takes', async () => {
  const socket = await open();
  socket.end('{"method":"slow"}\n');
  const text = rest(socket);
  await callControl(path, { method: 'status' }, 5000);
  answer();
  expect(JSON.parse(await text)).toEqual({ result: { method: 'slow' } });
});

it('takes in nothing behind the line, however much is sent', async () => {
  const socket = await open();
  socket.write('{"method":"slow"}\n');
  const piece = Buffer.alloc(1024 * 1024, 0x20);
  for (let i = 0; i < 64; i++) socket.write(piece);
  // Answered after what came before was looked at.
  for (let i = 0; i < 20; i++) await callControl(path, { method: 'status' }, 5000);
  expect(socket.writableLength).toBeGreaterThan(32 * 1024 * 1024);
  answer();
});

it('is not kept from others by clients that say nothing', async () => {
  await server.close();
  server = await ControlServer.listen(path, async ({ method }) => ({ method }), 20);
  const mute = await Promise.all(Array.from({ length: 64 }, open));
  for (const socket of mute) expect(await rest(socket)).toBe('');
  expect(await callControl(path, { method: 'status' }, 5000)).toEqual({ method: 'status' });
});

it('removes no file that is not a socket, and no link, but takes the place of one who was killed', async () => {
  const file = join(root, 'disk.img');
  writeFileSync(file, 'kept');
  const link = join(root, 'link');
  symlinkSync(file, link);
  for (const taken of [file, link]) {
    await expect(ControlServer.listen(taken, async () => ({}))).rejects.toMatchObject({ code: 'EXISTS' });
    expect(readFileSync(taken, 'utf8')).toBe('kept');
  }
  await expect(ControlServer.listen(path, async () => ({}))).rejects.toMatchObject({ code: 'BUSY' });
  const stale = join(root, 'stale.sock');
  const listen =
    "require('node:net').createServer().listen(process.argv[1], () => process.kill(process.pid, 'SIGKILL'))";
  spawnSync(process.execPath, ['-e', listen, stale]);
  expect(lstatSync(stale).isSocket()).toBe(true);
  await (await ControlServer.listen(stale, async () => ({}))).close();
  expect(existsSync(stale)).toBe(false);
});

it('tells of a thousand exports in one answer', async () => {
  const { exports } = await callControl(path, { method: 'status' }, 10_000);
  expect(exports).toHaveLength(1024);
});
