import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, expect, test } from 'vitest';
import { silentLogger } from '../../../src/common/log.js';
import { seededRandom } from '../../../src/common/random.js';
import { DescriptorSocket } from '../../../src/io/index.js';
import { Opcode } from '../../../src/protocol/index.js';
import { deviceFeatures } from '../../../src/vhost/config-space.js';
import { BlkStatus, BlkType, Feature, maskOf } from '../../../src/vhost/constants.js';
import { VhostServer } from '../../../src/vhost/index.js';
import { FrontEnd } from '../../fixtures/vhost/connection.js';
import { Driver } from '../../fixtures/vhost/driver.js';
import { requestParts } from '../../fixtures/vhost/rig.js';
import { ClientRig } from './rig.js';

/** A guest that changes what it writes while it is on its way: replicas must hold the same all the same (I3). */

const ROUNDS = process.env.RAWSTOR_TEST_LONG === '1' ? 2000 : 100;
const SLOTS = 8;
const BYTES = 64 * 1024;
const DATA = 2 << 20;
let rig: ClientRig;
afterEach(() => rig.end());

/** Of the chunk files that an OST has of the volume. */
function digest(ostId: string, objectId: string): string {
  const dir = rig.chunksOf(ostId, objectId);
  const hash = createHash('sha256');
  for (const name of readdirSync(dir).sort()) hash.update(name).update(readFileSync(join(dir, name)));
  return hash.digest('hex');
}

test('replicas are alike, whatever a guest does to its buffers', async () => {
  rig = await ClientRig.start(2);
  await rig.create('v');
  const volume = await rig.cluster.openVolume('v', { mode: 'write' });
  const late = rig.ostsOf(volume)[1]!;
  const server = new VhostServer({ io: rig.io, log: silentLogger, device: volume, serial: 'v', queues: 1 });
  const [ours, theirs] = DescriptorSocket.pair();
  server.accept(theirs);
  const front = new FrontEnd(ours);
  await front.negotiate(deviceFeatures(false) & ~maskOf([Feature.LOG_ALL, Feature.RING_PACKED]));
  await front.shareMemory();
  const driver = new Driver(front, 0, 64, false);
  driver.start();
  const random = seededRandom(3);
  for (let round = 0; round < ROUNDS; round++) {
    const statuses: number[] = [];
    for (let slot = 0; slot < SLOTS; slot++) {
      const at = DATA + slot * BYTES;
      front.bytes.fill(round, at, at + BYTES);
      const sector = (BYTES / 512) * random.below(64);
      const { parts, statusAt } = requestParts(front, slot, BlkType.OUT, sector, [{ at, length: BYTES }]);
      driver.add(parts);
      statuses.push(statusAt);
    }
    // One replica has it at once, the other only when the guest has changed its mind.
    late.holds = (op) => op.opcode === Opcode.WRITE;
    driver.kick.signal();
    while (late.held < 1) await new Promise((resolve) => setImmediate(resolve));
    for (let at = DATA; at < DATA + SLOTS * BYTES; at += 512) front.bytes[at]!++;
    late.release();
    await driver.used(SLOTS);
    expect(statuses.map((at) => front.bytes[at])).toEqual(statuses.map(() => BlkStatus.OK));
  }
  const { id, members } = volume.object;
  front.close();
  await server.close();
  await volume.close();
  const [one, other] = members.map(({ ostId }) => digest(ostId, id));
  expect(one).toBe(other);
}, 600_000);
