import { afterEach, beforeEach, expect, test } from 'vitest';
import { recoverVolume } from '../../../src/client/index.js';
import { CopyThrottle } from '../../../src/client/recovery/throttle.js';
import { systemClock } from '../../../src/common/clock.js';
import { MiB } from '../../../src/common/units.js';
import { ManualClock } from '../../unit/mds/support.js';
import { ClientRig, until, write } from './rig.js';

/** A move copies as fast as it may, and no faster: real OSTs, the time of the bound in the test's hands. */

const SIZE = 16 * MiB;

let rig: ClientRig;
beforeEach(async () => {
  rig = await ClientRig.start(3);
});
afterEach(() => rig.end());

test('copies keep to their rate, by the clock that is handed in', async () => {
  const clock = new ManualClock();
  const rate = 4 * MiB;
  await rig.create('v', { sizeBytes: SIZE, chunkSizeBytes: SIZE });
  const volume = await rig.cluster.openVolume('v', { mode: 'write' });
  for (let at = 0; at < SIZE; at += MiB) await write(volume, at, 1 + at / MiB, MiB);
  await volume.close();
  const { id, map } = await rig.object('v');
  await rig.cluster.mds.call('mds.move', { id, from: map.pool[0]!.ostId, to: null, dryRun: false });
  const engine = await rig.connect('engine');
  (engine as unknown as { throttle: CopyThrottle }).throttle = new CopyThrottle(clock, rate);
  let copied = 0;
  const recovering = recoverVolume(engine, 'v', {
    clock: systemClock,
    onProgress: ({ members }) => {
      copied = members.reduce((sum, member) => sum + member.copiedBytes, 0);
    },
  });
  for (let seconds = 0; seconds < 3; seconds++) {
    // One region a second of that clock, however long this one goes on.
    await until(() => copied === rate * (seconds + 1));
    await systemClock.sleep(300);
    expect(copied).toBe(rate * (seconds + 1));
    clock.advance(1000);
  }
  expect(await recovering).toBe('recovered');
  await engine.close();
});
