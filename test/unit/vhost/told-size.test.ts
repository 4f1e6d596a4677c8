import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { silentLogger } from '../../../src/common/log.js';
import { DescriptorSocket } from '../../../src/io/index.js';
import { deviceFeatures } from '../../../src/vhost/config-space.js';
import { BackendRequest, Feature, maskOf, Request } from '../../../src/vhost/constants.js';
import { VhostServer } from '../../../src/vhost/index.js';
import { HEADER_BYTES } from '../../../src/vhost/messages.js';
import { FrontEnd } from '../../fixtures/vhost/connection.js';
import { Driver } from '../../fixtures/vhost/driver.js';
import { Rig } from '../../fixtures/vhost/rig.js';

/** A front-end that comes to a server anew has asked the one before for the configuration. */

let rig: Rig;
let dir: string;
beforeEach(() => {
  rig = new Rig();
  dir = mkdtempSync(join(tmpdir(), 'rawstor-told-'));
});
afterEach(async () => {
  await rig.close();
  rmSync(dir, { recursive: true });
});

async function served(): Promise<{ server: VhostServer; front: FrontEnd; ours: DescriptorSocket }> {
  const server = new VhostServer({ io: rig.io, log: silentLogger, device: rig.fault, serial: 'vm1' });
  const path = join(dir, 'vm1.vhost');
  await server.listen(path);
  const front = new FrontEnd(DescriptorSocket.connect(path));
  await front.negotiate(deviceFeatures(false) & ~maskOf([Feature.LOG_ALL, Feature.RING_PACKED]));
  await front.shareMemory();
  const [ours, theirs] = DescriptorSocket.pair();
  front.send(Request.SET_BACKEND_REQ_FD, Buffer.alloc(0), [theirs.fd]);
  await front.u64(Request.GET_STATUS);
  return { server, front, ours };
}

function messages(socket: DescriptorSocket): number[] {
  const bytes = Buffer.alloc(1024);
  const got = socket.receive(bytes, 0, bytes.length, []) ?? 0;
  const found: number[] = [];
  for (let at = 0; at < got; at += HEADER_BYTES) found.push(bytes.readUInt32LE(at));
  return found;
}

test('it is told to look again when its first ring starts, once', async () => {
  for (let round = 0; round < 2; round++) {
    const { server, front, ours } = await served();
    // QEMU passes nothing on before that.
    expect(messages(ours)).toEqual([]);
    new Driver(front, 0, 16, false).start();
    new Driver(front, 1, 16, false).start();
    await front.u64(Request.GET_STATUS);
    expect(messages(ours)).toEqual([BackendRequest.CONFIG_CHANGE]);
    front.close();
    await server.close();
    ours.close();
    Object.defineProperty(rig.fault, 'sizeBytes', { value: 1 << 30 });
  }
});
