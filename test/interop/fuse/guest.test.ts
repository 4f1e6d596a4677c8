import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runGuest, startGuest } from '../../../scripts/qemu/guest.js';
import { CAN_MOUNT, Mounted } from './rig.js';

const MINUTES = 60_000;
let mounted: Mounted;

describe.skipIf(!CAN_MOUNT)('a guest on a file of a mount', () => {
  beforeAll(async () => {
    mounted = await Mounted.start(['--osts', '3', '--no-volume']);
  }, 120_000);
  afterAll(() => mounted?.remove());

  it(
    'has all that it synced when the process of the mount is killed under it',
    async () => {
      await mounted.sh('truncate -s 32M disk');
      const set = { SLOTS: 256 };
      const drive = `file=${mounted.path('disk')},werror=report`;
      const guest = startGuest({ scenario: 'load-phase', drive, set, timeoutMs: 4 * MINUTES });
      await guest.waitForRecord(12, 3 * MINUTES);
      await mounted.end('SIGKILL');
      // Its disk fails from now on, and so does what it does.
      const result = await guest.result;
      expect(result.code).not.toBe(0);
      expect(result.output).toMatch(/I\/O error|FAILED/);
      await mounted.mount();
      const last = { ...set, LAST: guest.lastRecord };
      await runGuest({ scenario: 'record-verify', drive, set: last, timeoutMs: 3 * MINUTES });
    },
    8 * MINUTES,
  );
});
