import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { expect, it } from 'vitest';
import { runGuest } from '../../../scripts/qemu/guest.js';
import { UpCluster } from '../cli/programs.js';
import { CAN_MOUNT, Mounted } from '../fuse/rig.js';
import { driveOf } from './drive.js';

/** A real guest on an encrypted volume: it sees a disk, the OSTs see none of its files, a mount with the key sees them. */

const MINUTES = 60_000;
const GUEST_MS = 4 * MINUTES;
/** The name of a file that the guest makes, and a line of a file of its. */
const NAME = 'edge-1048579';

it(
  'its files are whole after a stop, and found on no OST; a mount shows them to who has the key',
  async () => {
    const keys = mkdtempSync(join(tmpdir(), 'rawstor-guest-key-'));
    const key = join(keys, 'vm1');
    writeFileSync(key, randomBytes(32));
    const opens = ['--key-file', `vm1=${key}`];
    const up = ['--volume', 'scratch:16M', ...opens];
    let cluster = await UpCluster.start(up);
    try {
      const made = ['create', 'vm1', '--size', '1G', '--encrypt', '--key-file', key];
      expect(await cluster.volume(...made)).toMatchObject({ code: 0 });
      const guest = { timeoutMs: GUEST_MS };
      const { sums } = await runGuest({ ...guest, scenario: 'write-phase', drive: driveOf(cluster) });
      expect(sums).toMatch(/^[0-9a-f]{64}$/);
      const found = () => execa('grep', ['-rlaF', NAME, cluster.cwd], { reject: false });
      expect((await found()).stdout).toBe('');
      await cluster.stop();
      cluster = await UpCluster.start(up, cluster.cwd);
      const set = { SUMS: sums! };
      await runGuest({ ...guest, scenario: 'verify-phase', drive: driveOf(cluster), set });
      if (!CAN_MOUNT) return;
      const mounted = await Mounted.on(cluster, 'mnt', opens);
      expect(await mounted.sh(`grep -caF ${NAME} vm1`)).toMatch(/^[1-9]/);
      await mounted.sh('debugfs -R "cat SUMS" vm1 2>/dev/null | grep -F data/edge-4095');
      await mounted.end();
      await mounted.mount();
      expect(await mounted.fails('head -c 4096 vm1')).toMatch(/Permission denied/);
      await mounted.end();
    } finally {
      await cluster.remove();
      rmSync(keys, { recursive: true, force: true });
    }
  },
  10 * MINUTES,
);
