import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { runGuest, startGuest } from '../../../scripts/qemu/guest.js';
import { MiB } from '../../../src/common/units.js';
import { begin, run, UpCluster, until } from '../cli/programs.js';
import { done } from '../cli/servers.js';

/** Real guests under emulation whose disk is in their own memory's reach: vhost-user. */

const MINUTES = 60_000;
const GUEST_MS = 4 * MINUTES;
const LONG = process.env.RAWSTOR_TEST_LONG === '1';
const KILLS = LONG ? 20 : 4;
let up: UpCluster | null = null;
let server: ReturnType<typeof begin> | null = null;

async function serve(...more: string[]): Promise<string> {
  const socket = join(up!.cwd, 'vm1.vhost');
  let said = '';
  server = begin('cli/rawstor', ['vhost', 'vm1', '--socket-path', socket, ...more], { cwd: up!.cwd });
  server.stderr!.on('data', (bytes: Buffer) => {
    said += bytes.toString();
  });
  const ended = server.then(() => {
    throw new Error(`rawstor vhost has ended: ${said}`);
  });
  ended.catch(() => {});
  await Promise.race([until(() => said.includes('"ready"')), ended]);
  return socket;
}

afterEach(async () => {
  server?.kill('SIGTERM');
  await server;
  await up?.remove();
  up = null;
  server = null;
}, MINUTES);

/** A guest that writes numbered records without stop. */
const loadOf = (vhostUser: string, vhostOptions: string) => ({
  scenario: 'load-phase',
  vhostUser,
  vhostOptions,
  set: { TARGET: 'file' },
  timeoutMs: 8 * MINUTES,
});

/** It saw no error, and another guest finds all its records. */
async function endAndVerify(
  guest: ReturnType<typeof startGuest>,
  { vhostUser, vhostOptions, set }: ReturnType<typeof loadOf>,
): Promise<void> {
  guest.kill();
  const { lastRecord, output } = await guest.result;
  expect(output).not.toMatch(/I\/O error|EXT4-fs error/);
  await runGuest({
    scenario: 'record-verify',
    vhostUser,
    vhostOptions,
    set: { ...set, LAST: lastRecord },
    timeoutMs: GUEST_MS,
  });
}

describe('a guest on a volume over vhost-user', () => {
  it.each([
    ['one queue, split', 'num-queues=1', 512],
    ['four queues, packed, memory above 4 GiB', 'num-queues=4,packed=on', 8192],
  ])(
    'writes files, is reset without unmounting, and finds them whole: %s',
    async (_what, vhostOptions, memoryMiB) => {
      up = await UpCluster.start(['--volume', 'vm1:1G:2']);
      const vhostUser = await serve();
      const smp = ['-smp', '2'];
      const scenario = { scenario: 'reboot-phase', reboots: true, timeoutMs: GUEST_MS, extraArgs: smp };
      await runGuest({ ...scenario, vhostUser, vhostOptions, memoryMiB });
    },
    6 * MINUTES,
  );

  it.each([
    ['split', 'num-queues=2'],
    ['packed', 'num-queues=2,packed=on'],
  ])(
    `goes on without an error while the server is killed ${KILLS} times under its load: %s${LONG ? ' (long)' : ''}`,
    async (_what, vhostOptions) => {
      up = await UpCluster.start(['--volume', 'vm1:1G:2']);
      const vhostUser = await serve();
      const loaded = loadOf(vhostUser, vhostOptions);
      const guest = startGuest(loaded);
      await guest.waitForRecord(50, 2 * MINUTES);
      const pausesMs: number[] = [];
      for (let i = 0; i < KILLS; i++) {
        const before = guest.lastRecord;
        const sinceMs = performance.now();
        server!.kill('SIGKILL');
        if (i % 4 === 1) process.kill(up.facts.pids['ost-1']!, 'SIGKILL');
        await server;
        await serve();
        await guest.waitForRecord(before + 20, MINUTES);
        pausesMs.push(Math.round(performance.now() - sinceMs));
      }
      console.log(`pauses with what follows, ms: ${pausesMs.join(' ')}`);
      await endAndVerify(guest, loaded);
    },
    14 * MINUTES,
  );
});

it.each([
  ['split', 'num-queues=2'],
  ['packed', 'num-queues=2,packed=on'],
])(
  'a guest goes on while a newer process takes the place of the one that serves it: %s',
  async (_what, vhostOptions) => {
    up = await UpCluster.start(['--volume', 'vm1:1G:2']);
    const vhostUser = await serve();
    const loaded = loadOf(vhostUser, vhostOptions);
    const guest = startGuest(loaded);
    await guest.waitForRecord(50, 2 * MINUTES);
    for (let i = 0; i < (LONG ? 20 : 3); i++) {
      const before = server!;
      await serve('--replace');
      expect((await before).exitCode).toBe(0);
      await guest.waitForRecord(guest.lastRecord + 20, MINUTES);
    }
    await endAndVerify(guest, loaded);
  },
  14 * MINUTES,
);

it(
  'a guest sees a new size at once, and writes where there was nothing before',
  async () => {
    up = await UpCluster.start(['--volume', 'vm1:64M:2']);
    const vhostUser = await serve();
    const set = { SECTORS: (256 * MiB) / 512, FILL: 80 };
    const guest = startGuest({ scenario: 'grow-phase', vhostUser, set, timeoutMs: 6 * MINUTES });
    await guest.waitForLine(/^guest: small/, 3 * MINUTES);
    await done(up.volume('resize', 'vm1', '256M'));
    const { code, output } = await guest.result;
    expect(output).toContain('guest: grown');
    expect(output).not.toMatch(/I\/O error|EXT4-fs error/);
    expect(code, output).toBe(0);
  },
  10 * MINUTES,
);

it('tells how to start a guest, and serves the volume meanwhile', async () => {
  up = await UpCluster.start(['--volume', 'vm1:64M:1']);
  const capabilities = await run('vhost/main', ['--print-capabilities'], { cwd: up.cwd });
  expect(JSON.parse(capabilities.stdout)).toEqual({ type: 'block', features: ['read-only'] });
  const socket = await serve();
  const told = async (what: string) =>
    (await up!.volume('attach', 'vm1', '--vhost', '--socket', socket, '--print', what)).stdout;
  expect(await told('uri')).toBe(`${socket}\n`);
  expect(await told('qemu')).toContain(`path=${socket},reconnect=1`);
  expect(await told('libvirt')).toContain(`<source type='unix' path='${socket}'>`);
});
