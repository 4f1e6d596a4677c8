import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { MiB } from '../../../src/common/units.js';
import { ClientRig, expectBytes, states, until, write } from './rig.js';

/** A replica that comes back in the midst of a change that has the whole volume for itself. */

let rig: ClientRig;
beforeEach(async () => {
  rig = await ClientRig.start(2);
});
afterEach(() => rig.end());

describe.each(['resize', 'rollback'] as const)('a %s', (kind) => {
  test('ends, and the replica that comes back meanwhile gets into sync', async () => {
    await rig.create('v');
    const volume = await rig.cluster.openVolume('v', { mode: 'write' });
    const [stays, leaves] = rig.ostsOf(volume);
    await write(volume, 0, 1);
    const to = volume.object.headVersion;
    await volume.change({ kind: 'snapshot', name: 's' });
    await write(volume, 4 * MiB, 2);
    leaves!.away = true;
    leaves!.cut();
    await until(() => states(volume).includes('stale'));
    await write(volume, 8 * MiB, 3);
    let asked = false;
    let goOn = () => {};
    stays!.beforeCall = async (method) => {
      if (method !== 'ost.storeSet' || asked) return;
      asked = true;
      await new Promise<void>((resolve) => {
        goOn = resolve;
      });
    };
    let attached = false;
    leaves!.beforeCall = async (method) => {
      if (method === 'ost.regions') attached = true;
    };
    const changed = volume.change(
      kind === 'resize' ? { kind, sizeBytes: 24 * MiB } : { kind, to, keepAs: 'before' },
    );
    await until(() => asked);
    leaves!.away = false;
    // Listed while the change is under way, if at all.
    await Promise.race([until(() => attached), new Promise((resolve) => setTimeout(resolve, 2500))]);
    const failures = new Set<string>();
    const watch = () =>
      until(() => {
        for (const { waitsFor } of volume.status().members) failures.add(waitsFor);
        return false;
      }, 400).catch(() => {});
    await watch();
    expect([...failures].join()).not.toContain('behind the end');
    goOn();
    await changed;
    await until(() => states(volume).every((state) => state === 'in-sync'));
    await expectBytes(volume, 0, 1);
    await expectBytes(volume, 8 * MiB, kind === 'resize' ? 3 : 0);
    expect(volume.sizeBytes).toBe((kind === 'resize' ? 24 : 16) * MiB);
    await volume.close();
  }, 30_000);
});
