import { rmSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { afterEach, describe, expect, it } from 'vitest';
import { startGuest } from '../../../scripts/qemu/guest.js';
import { ok } from '../cli/outcome.js';
import { UpCluster, until } from '../cli/programs.js';
import { driveOf } from './drive.js';

/** Snapshots and sizes under a real guest that writes. */

const MINUTES = 60_000;
const MiB = 1024 * 1024;
const SNAPSHOTS = process.env.RAWSTOR_TEST_LONG === '1' ? 100 : 25;
const SLOTS = 16_384;
/** Records that the guest makes durable together. */
const GROUP = 8;
const RECORDS_SOURCE = fileURLToPath(new URL('../../../scripts/qemu/guest-files/records.c', import.meta.url));
let up: UpCluster | null = null;

afterEach(async () => {
  await up?.remove();
  up = null;
}, MINUTES);

describe('a guest that writes numbered records without stop', () => {
  it(
    `leaves a prefix of them in each of ${SNAPSHOTS} snapshots`,
    async () => {
      up = await UpCluster.start(['--volume', `vm1:${SLOTS * 4096}:2`]);
      const records = join(up.cwd, 'records');
      await execa('gcc', ['-O2', '-o', records, RECORDS_SOURCE]);
      const set = { TARGET: 'raw', SLOTS, GROUP };
      const guest = startGuest({
        scenario: 'load-phase',
        drive: driveOf(up),
        set,
        timeoutMs: 8 * MINUTES,
      });
      await guest.waitForRecord(100, 2 * MINUTES);
      const bounds: { least: number; most: number }[] = [];
      for (let i = 0; i < SNAPSHOTS; i++) {
        const least = guest.lastRecord;
        ok(await up.volume('snapshot', `vm1@s${i}`));
        // What the console has told lies behind what the guest has done: up to one group, and a line.
        await guest.waitForRecord(guest.lastRecord + 1, MINUTES);
        bounds.push({ least, most: guest.lastRecord + 2 * GROUP });
      }
      const written = guest.lastRecord;
      expect(written).toBeGreaterThan(SNAPSHOTS * GROUP);
      const copy = join(up.cwd, 'copy');
      let before = 0;
      for (const [i, { least, most }] of bounds.entries()) {
        rmSync(copy, { force: true });
        await execa('nbdcopy', [up.uriOf(`vm1@s${i}`), copy]);
        // Each was written when the one before was acknowledged: within a group, too, none may be missing.
        const { stdout } = await execa(records, [
          'verify',
          `path=${copy}`,
          'salt=1',
          `slots=${SLOTS}`,
          'group=1',
        ]);
        const newest = Number(/newest=(\d+)/.exec(stdout)?.[1]);
        expect(newest, `snapshot ${i}`).toBeGreaterThanOrEqual(Math.max(least, before));
        expect(newest, `snapshot ${i}`).toBeLessThanOrEqual(most);
        before = newest;
      }
      // It has noticed nothing.
      await guest.waitForRecord(written + 100, MINUTES);
      guest.kill();
      expect((await guest.result).output).not.toMatch(/I\/O error|FAILED/);
    },
    12 * MINUTES,
  );

  it(
    'sees a new size, and writes where there was nothing before',
    async () => {
      up = await UpCluster.start(['--volume', 'vm1:256M:2']);
      const monitor = join(up.cwd, 'qmp.sock');
      const guest = startGuest({
        scenario: 'grow-phase',
        drive: `${driveOf(up)},id=disk`,
        set: { SECTORS: (1024 * MiB) / 512 },
        timeoutMs: 6 * MINUTES,
        extraArgs: ['-qmp', `unix:${monitor},server=on,wait=off`],
      });
      await guest.waitForLine(/^guest: small/, 3 * MINUTES);
      ok(await up.volume('resize', 'vm1', '1G'));
      // QEMU asks for the size only of a connection that it has made since, which it makes with the next request.
      const sizeBytes = 1024 * MiB;
      await until(async () => (await blockResize(monitor, 'disk', sizeBytes)) === null);
      const { code, output } = await guest.result;
      expect(output).toContain('guest: grown');
      expect(output).not.toMatch(/I\/O error|EXT4-fs error/);
      expect(code, output).toBe(0);
    },
    12 * MINUTES,
  );
});

/** @returns what QEMU refuses it with, null when it is done */
async function blockResize(socketPath: string, device: string, sizeBytes: number): Promise<string | null> {
  const socket = connect(socketPath);
  try {
    let said = '';
    socket.on('data', (bytes) => {
      said += bytes.toString();
    });
    socket.write('{"execute":"qmp_capabilities"}\n');
    const asked = { execute: 'block_resize', arguments: { device, size: sizeBytes }, id: 'resize' };
    socket.write(`${JSON.stringify(asked)}\n`);
    await until(() => /"id": ?"resize"/.test(said));
    const line = said.split('\n').find((one) => /"id": ?"resize"/.test(one))!;
    const answer = JSON.parse(line) as { error?: { desc: string } };
    return answer.error?.desc ?? null;
  } finally {
    socket.destroy();
  }
}
