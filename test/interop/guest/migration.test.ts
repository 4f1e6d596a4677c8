import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { runGuest } from '../../../scripts/qemu/guest.js';
import { begin, UpCluster, until } from '../cli/programs.js';
import { MovingGuest } from './moving-guest.js';

/** Real guests under emulation that are moved, with a load, between two QEMUs and two servers of their volume. */

const MINUTES = 60_000;
const LONG = process.env.RAWSTOR_TEST_LONG === '1';
const MOVES = LONG ? 10 : 2;
let up: UpCluster;
let servers: ReturnType<typeof begin>[] = [];
let guest: MovingGuest | null = null;

async function serve(...args: string[]): Promise<void> {
  let said = '';
  const server = begin('cli/rawstor', [...args, '--standby'], { cwd: up.cwd });
  servers.push(server);
  server.stderr!.on('data', (bytes: Buffer) => {
    said += bytes.toString();
  });
  const ended = server.then(() => {
    throw new Error(`a server has ended: ${said}`);
  });
  ended.catch(() => {});
  await Promise.race([until(() => said.includes('"ready"')), ended]);
}

const FACADES = {
  'vhost-user': {
    serve: (socket: string) => serve('vhost', 'vm1', '--socket-path', socket),
    disk: (socket: string) => ({ vhostUser: socket, vhostOptions: 'num-queues=2' }),
  },
  'vhost-user, packed': {
    serve: (socket: string) => serve('vhost', 'vm1', '--socket-path', socket),
    disk: (socket: string) => ({ vhostUser: socket, vhostOptions: 'num-queues=2,packed=on' }),
  },
  NBD: {
    serve: (socket: string) => serve('serve', 'nbd', '--listen', `unix:${socket}`),
    disk: (socket: string) => ({
      drive: `file.driver=nbd,file.server.type=unix,file.server.path=${socket},file.export=vm1`,
    }),
  },
};

afterEach(async () => {
  guest?.kill();
  guest = null;
  for (const server of servers) server.kill('SIGTERM');
  await Promise.all(servers);
  servers = [];
  await up.remove();
}, MINUTES);

describe.each(Object.entries(FACADES))('a guest on %s', (_name, facade) => {
  it(
    `is moved ${MOVES} times under its load, and goes on where a move fails${LONG ? ' (long)' : ''}`,
    async () => {
      up = await UpCluster.start(['--volume', 'vm1:1G:2']);
      const sockets = [0, 1].map((place) => join(up.cwd, `place-${place}`));
      for (const socket of sockets) await facade.serve(socket);
      const set = { TARGET: 'file' };
      const common = { scenario: 'load-phase', set, memoryMiB: 256, timeoutMs: 12 * MINUTES };
      guest = new MovingGuest(up.cwd, (place) => ({ ...common, ...facade.disk(sockets[place]!) }));
      await guest.start();
      await guest.waitForRecord(50, 2 * MINUTES);
      const goesOn = async () => guest!.waitForRecord(guest!.lastRecord + 20, MINUTES);
      await guest.failHalfway();
      await goesOn();
      await guest.failAtTheEnd();
      await goesOn();
      const downtimesMs: number[] = [];
      for (let i = 0; i < MOVES; i++) {
        downtimesMs.push((await guest.move()).downtimeMs);
        await goesOn();
      }
      console.log(`downtimes, ms: ${downtimesMs.join(' ')}`);
      guest.kill();
      const output = (await Promise.all(guest.outputs)).join('\n');
      expect(output).not.toMatch(/I\/O error|EXT4-fs error|FAILED|records: /);
      const { stdout } = await up.volume('info', 'vm1', '--output', 'json');
      expect(JSON.parse(stdout)).toMatchObject({ lossWallMs: null });
      // The place that did not have it last: it takes the volume over once more.
      const LAST = guest.lastRecord;
      await runGuest({
        ...common,
        ...facade.disk(sockets[1]!),
        scenario: 'record-verify',
        set: { ...set, LAST },
      });
    },
    15 * MINUTES,
  );
});

it.each([
  ['split', 'num-queues=2'],
  ['packed', 'num-queues=2,packed=on'],
])(
  'a guest that is let go on where it was moved from is refused its disk, and the moved one goes on: %s',
  async (_what, vhostOptions) => {
    up = await UpCluster.start(['--volume', 'vm1:1G:2']);
    const sockets = [0, 1].map((place) => join(up.cwd, `place-${place}`));
    for (const socket of sockets) await serve('vhost', 'vm1', '--socket-path', socket);
    const set = { TARGET: 'file' };
    const common = { scenario: 'load-phase', set, vhostOptions, memoryMiB: 256, timeoutMs: 8 * MINUTES };
    guest = new MovingGuest(up.cwd, (place) => ({ ...common, vhostUser: sockets[place]! }));
    await guest.start();
    await guest.waitForRecord(50, 2 * MINUTES);
    const { left } = await guest.goOver();
    const moved = guest;
    const goesOn = () => moved.waitForRecord(moved.lastRecord + 20, MINUTES);
    try {
      await goesOn();
      const before = left.guest.lastRecord;
      await left.qmp.call('cont');
      // While the one that has the volume does not need it, too.
      await guest.pause(true);
      await left.guest.waitForLine(/I\/O error/, MINUTES);
      await guest.pause(false);
      await goesOn();
      // It may tell of what was durable when it was stopped.
      expect(left.guest.lastRecord).toBeLessThanOrEqual(before + 4);
    } finally {
      left.guest.kill();
      left.qmp.close();
    }
    for (const server of servers) expect(server.exitCode).toBeNull();
    guest.kill();
    const LAST = guest.lastRecord;
    const [, output] = await Promise.all(guest.outputs);
    expect(output).not.toMatch(/I\/O error|EXT4-fs error|FAILED|records: /);
    await left.guest.result;
    await runGuest({
      ...common,
      vhostUser: sockets[0]!,
      scenario: 'record-verify',
      set: { ...set, LAST },
    });
  },
  10 * MINUTES,
);
