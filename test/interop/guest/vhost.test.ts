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
/** Queues, kind of ring, MiB of memory: a part of it above 4 GiB, or nothing. */
const MACHINES: [number, string, number][] = [
  [1, 'split', 512],
  [4, 'packed', 8192],
];
const ALL_MACHINES = [1, 4].flatMap((queues) =>
  ['split', 'packed'].flatMap((ring) =>
    [512, 8192].map((memoryMiB): [number, string, number] => [queues, ring, memoryMiB]),
  ),
);
let up: UpCluster | null = null;
let server: ReturnType<typeof begin> | null = null;

/** The volume vm1, and what else is named. @returns its socket */
async function serve(...more: string[]): Promise<string> {
  let said = '';
  server = begin('cli/rawstor', ['vhost', 'vm1', '--socket-dir', up!.cwd, ...more], { cwd: up!.cwd });
  server.stderr!.on('data', (bytes: Buffer) => {
    said += bytes.toString();
  });
  const ended = server.then(() => {
    throw new Error(`rawstor vhost has ended: ${said}`);
  });
  ended.catch(() => {});
  await Promise.race([until(() => said.includes('"ready"')), ended]);
  return join(up!.cwd, 'vm1.vhost');
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
  it.each(LONG ? ALL_MACHINES : MACHINES)(
    `writes files, is reset without unmounting, and finds them whole: %i queues, %s, %i MiB${LONG ? ' (long)' : ''}`,
    async (queues, ring, memoryMiB) => {
      up = await UpCluster.start(['--volume', 'vm1:1G:2']);
      const vhostUser = await serve();
      const vhostOptions = `num-queues=${queues}${ring === 'packed' ? ',packed=on' : ''}`;
      const extraArgs = ['-smp', String(Math.max(2, queues))];
      const scenario = { scenario: 'reboot-phase', reboots: true, timeoutMs: GUEST_MS, extraArgs };
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
        if (i % 4 === 1) process.kill(await up.ostPid(1), 'SIGKILL');
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

it(
  'a guest knows its disk by name, turns the write cache off and on, discards, and only reads a snapshot',
  async () => {
    up = await UpCluster.start(['--volume', 'vm1:64M:2']);
    await done(up.volume('snapshot', 'vm1@s'));
    const vhostUser = [await serve('vm1@s'), join(up.cwd, 'vm1@s.vhost')];
    const set = { SERIAL: 'vm1', OTHER: '/dev/vdb' };
    await runGuest({ scenario: 'device-phase', vhostUser, set, timeoutMs: GUEST_MS });
  },
  6 * MINUTES,
);

it(
  'what a guest discards, overwrites with zeroes or trims reads as zeros, and takes no space that it need not',
  async () => {
    up = await UpCluster.start(['--volume', 'vm1:64M:2', '--volume', 'vm2:64M:2']);
    const vhostUser = [await serve('vm2'), join(up.cwd, 'vm2.vhost')];
    const set = { OTHER: '/dev/vdb' };
    const { output } = await runGuest({ scenario: 'zeroes-phase', vhostUser, set, timeoutMs: GUEST_MS });
    expect(output).toMatch(/guest: before 3[2-9] MiB/);
    // Of each replica.
    const takenBytes = async (volume: string) => {
      const { stdout } = await up!.volume('du', volume, '--output', 'json');
      const { osts } = JSON.parse(stdout)[0] as { osts: { allocatedBytes: number }[] };
      return osts.map(({ allocatedBytes }) => allocatedBytes);
    };
    const [first, second] = [await takenBytes('vm1'), await takenBytes('vm2')];
    console.log(`taken of 32 MiB: ${first.join(' ')}; by the file system: ${second.join(' ')}`);
    expect([first.length, second.length]).toEqual([2, 2]);
    for (const bytes of first) {
      expect(bytes).toBeGreaterThanOrEqual(8 * MiB);
      expect(bytes).toBeLessThan(17 * MiB);
    }
    for (const bytes of second) expect(bytes).toBeLessThan(16 * MiB);
  },
  6 * MINUTES,
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
