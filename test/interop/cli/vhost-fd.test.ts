import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { afterEach, expect, test } from 'vitest';
import { closeDescriptor, DescriptorSocket } from '../../../src/io/index.js';
import { deviceFeatures } from '../../../src/vhost/config-space.js';
import { BlkStatus, BlkType, Feature, maskOf } from '../../../src/vhost/constants.js';
import { FrontEnd } from '../../fixtures/vhost/connection.js';
import { Driver } from '../../fixtures/vhost/driver.js';
import { requestParts } from '../../fixtures/vhost/rig.js';
import { programArgs, UpCluster, until } from './programs.js';

/** A front-end that starts the back-end itself, and gives it the socket. */

const MINUTES = 60_000;
let up: UpCluster | null = null;
afterEach(() => up?.remove());

test(
  'a connected socket is served until the front-end is gone, then the process ends in order',
  async () => {
    up = await UpCluster.start(['--volume', 'vm1:64M:2']);
    const { cwd } = up;
    const [ours, theirs] = DescriptorSocket.pair();
    const args = [...programArgs('vhost/main'), 'vm1', '--fd', '3'];
    const server = spawn(process.execPath, args, { cwd, stdio: ['ignore', 'pipe', 'pipe', theirs.fd] });
    let said = '';
    server.stderr!.on('data', (bytes: Buffer) => {
      said += bytes.toString();
    });
    const ended = once(server, 'exit');
    closeDescriptor(theirs.fd);
    const front = new FrontEnd(ours);
    await front.negotiate(deviceFeatures(false) & ~maskOf([Feature.LOG_ALL, Feature.RING_PACKED]));
    await front.shareMemory();
    const driver = new Driver(front, 0, 16, false);
    driver.start();
    const at = 2 << 20;
    for (const [type, from] of [
      [BlkType.OUT, at],
      [BlkType.IN, at + 4096],
    ] as const) {
      front.bytes.fill(type === BlkType.OUT ? 7 : 0, from, from + 4096);
      const data = { at: from, length: 4096, write: type === BlkType.IN };
      const { parts, statusAt } = requestParts(front, 0, type, 8, [data]);
      driver.add(parts);
      driver.kick.signal();
      await driver.used(1);
      expect(front.bytes[statusAt]).toBe(BlkStatus.OK);
    }
    expect(front.bytes.subarray(at + 4096, at + 8192)).toEqual(Buffer.alloc(4096, 7));
    front.close();
    expect((await ended)[0], said).toBe(0);
    await until(async () => JSON.parse((await up!.volume('info', 'vm1', '--output', 'json')).stdout).clean);
  },
  2 * MINUTES,
);
