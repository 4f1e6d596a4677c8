import { afterEach, beforeEach, test } from 'vitest';
import { ClientRig, expectBytes, states, until, write } from './rig.js';

/** A volume is closed while one of its OSTs keeps its connection, and answers nothing any more. */

let rig: ClientRig;
beforeEach(async () => {
  rig = await ClientRig.start(2);
});
afterEach(() => rig.end());

test.each(['while it is closed', 'just before'])(
  'an OST that falls silent %s holds up no close',
  async (when) => {
    await rig.create('v');
    const volume = await rig.cluster.openVolume('v', { mode: 'write' });
    await write(volume, 0, 1);
    const [silent] = rig.ostsOf(volume);
    const fall = () => {
      silent!.holds = () => true;
      silent!.beforeCall = () => new Promise(() => {});
    };
    if (when === 'just before') {
      fall();
      void write(volume, 8192, 2).catch(() => {});
    }
    const closed = volume.close();
    if (when !== 'just before') fall();
    await closed;
    silent!.release();
    silent!.beforeCall = async () => {};
    silent!.cut();
    const again = await rig.cluster.openVolume('v', { mode: 'write' });
    await expectBytes(again, 0, 1);
    await until(() => states(again).every((state) => state === 'in-sync'));
    await again.close();
  },
  60_000,
);
