import { afterEach, beforeEach, expect, test } from 'vitest';
import type { Cluster, Volume } from '../../../src/client/index.js';
import { Opcode } from '../../../src/protocol/index.js';
import { ClientRig, expectBytes, flush, isSettled, states, until, write } from './rig.js';
import type { WatchedOst } from './watched-ost.js';

/** An OST whose disk does not come back from one operation, while the OST itself goes on answering pings, and all else. */

const STUCK_MS = 1500;
let rig: ClientRig;
let cluster: Cluster;
beforeEach(async () => {
  rig = await ClientRig.start(2);
  cluster = await rig.connect('gateway', { stuckMs: STUCK_MS });
});
afterEach(async () => {
  await cluster.close();
  await rig.end();
});

/** The first operation of this kind is never answered. */
function stick(ost: WatchedOst, opcode: number): void {
  let stuck = false;
  ost.holds = (op) => {
    if (stuck || op.opcode !== opcode) return false;
    stuck = true;
    return true;
  };
}

async function open(): Promise<Volume> {
  await rig.create('v');
  const volume = await cluster.openVolume('v', { mode: 'write' });
  await write(volume, 0, 1);
  return volume;
}

test.each([
  ['write', Opcode.WRITE, (volume: Volume) => write(volume, 8192, 2)],
  ['flush', Opcode.FLUSH, flush],
] as const)(
  'a %s that never ends costs its OST the place in the set, not the guest its disk',
  async (_, opcode, act) => {
    const volume = await open();
    const [, second] = rig.ostsOf(volume);
    stick(second!, opcode);
    const startedMs = performance.now();
    await act(volume);
    expect(performance.now() - startedMs).toBeGreaterThan(STUCK_MS);
    await write(volume, 4096, 3);
    // It is well again, so it comes back with what it missed.
    await until(() => states(volume).every((state) => state === 'in-sync'));
    await expectBytes(volume, 4096, 3);
    await volume.close();
  },
);

test('the only one left is attached anew and asked again', async () => {
  const volume = await open();
  const [first, second] = rig.ostsOf(volume);
  second!.away = true;
  second!.cut();
  await write(volume, 4096, 2);
  stick(first!, Opcode.WRITE);
  await write(volume, 8192, 3);
  expect(states(volume)).toEqual(['in-sync', 'stale']);
  await volume.close();
});

test('one that is slow with all of them, but answers each in time, keeps its place', async () => {
  const volume = await open();
  const [, second] = rig.ostsOf(volume);
  for (let round = 0; round < 3; round++) {
    second!.holds = (op) => op.opcode === Opcode.WRITE;
    const writing = write(volume, 4096 * round, 5);
    expect(await isSettled(writing, STUCK_MS / 2)).toBe(false);
    second!.release();
    await writing;
  }
  expect(states(volume)).toEqual(['in-sync', 'in-sync']);
  await volume.close();
});
