import { spawn } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { expect, it } from 'vitest';
import { deviceFeatures } from '../../../src/vhost/config-space.js';
import { Feature, maskOf, Request } from '../../../src/vhost/constants.js';
import { encodeU64 } from '../../../src/vhost/messages.js';
import { Rig } from '../../fixtures/vhost/rig.js';
import { CAN_MOUNT, Mounted } from './rig.js';

/** A front-end that passes files of a file system of its own, which answers nothing: the device that is passed them waits, nobody else. */

const REGION = Buffer.alloc(40);
REGION.writeBigUInt64LE(65536n, 16);
const NO_BYTES = Buffer.alloc(0);

it.skipIf(!CAN_MOUNT).each<[string, number, Buffer]>([
  ['to be mapped', Request.ADD_MEM_REG, REGION],
  ['to be signalled', Request.SET_VRING_CALL, encodeU64(0n)],
  ['to be sent to', Request.SET_BACKEND_REQ_FD, NO_BYTES],
  ['for nothing', Request.GET_QUEUE_NUM, NO_BYTES],
])(
  'a file of a file system that stands still is passed %s',
  async (_what, request, payload) => {
    const mounted = await Mounted.start(['--volume', 'vm1:64M:1']);
    const [hostile, other] = [new Rig(), new Rig()];
    const fd = openSync(mounted.path('vm1'), 'r+');
    // Otherwise nobody would be left to end a test that fails.
    const rescue = spawn('sh', ['-c', `sleep 100; kill -CONT ${mounted.pid}`], { stdio: 'ignore' });
    try {
      const front = hostile.connect();
      await front.negotiate(deviceFeatures(false) & ~maskOf([Feature.RING_PACKED, Feature.LOG_ALL]));
      process.kill(mounted.pid, 'SIGSTOP');
      front.send(request, payload, [fd]);
      // Behind it, and not answered either.
      front.send(Request.GET_QUEUE_NUM, NO_BYTES);
      const serves = async () => expect(await other.connect().u64(Request.GET_QUEUE_NUM)).toBe(4n);
      for (let i = 0; i < 3; i++) {
        await serves();
        other.front.close();
        await other.idle();
      }
      expect(mounted.pid).toBeGreaterThan(0);
      expect(rescue.exitCode).toBeNull();
      front.close();
      await hostile.server.close();
      expect(hostile.server.connected).toBe(true);
      process.kill(mounted.pid, 'SIGCONT');
      await hostile.idle();
    } finally {
      process.kill(mounted.pid, 'SIGCONT');
      rescue.kill();
      closeSync(fd);
      await Promise.all([hostile.close(), other.close()]);
      await mounted.remove();
    }
  },
  180_000,
);
