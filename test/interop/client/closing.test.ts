import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { Member } from '../../../src/client/member.js';
import { RawstorError } from '../../../src/common/errors.js';
import { ClientRig, expectBytes, states, until, write } from './rig.js';

/** A volume ends while one of its OSTs keeps its connection and answers nothing, or answers too late. */

let rig: ClientRig;
beforeEach(async () => {
  rig = await ClientRig.start(2);
});
afterEach(async () => {
  vi.restoreAllMocks();
  await rig.end();
});

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

describe('an attach that is answered too late leaves no session', () => {
  /** Keeps the next attach there back. @returns what lets it go on, and waits for its end */
  async function keepBack(ostId: string, begin: () => void): Promise<() => Promise<void>> {
    const attach = vi.spyOn(Member.prototype, 'attach');
    const ost = rig.watched.get(ostId)!;
    let go = () => {};
    const gone = new Promise<void>((resolve) => {
      go = resolve;
    });
    let asked = false;
    ost.beforeCall = async (method) => {
      if (method !== 'ost.attach') return;
      asked = true;
      await gone;
    };
    begin();
    await until(() => asked);
    return async () => {
      ost.beforeCall = async () => {};
      go();
      await Promise.allSettled(attach.mock.results.map(({ value }) => value));
    };
  }

  const sessionsOn = async (ostId: string) => {
    const peer = await rig.watched.get(ostId)!.connect(ostId, [], 1000);
    const { sessions } = await peer.call('ost.stat', {});
    peer.destroy();
    return sessions;
  };

  test('when the volume is abandoned meanwhile', async () => {
    await rig.create('v');
    const volume = await rig.cluster.openVolume('v', { mode: 'write' });
    await write(volume, 0, 1);
    const { ostId } = volume.object.members[1]!;
    const goOn = await keepBack(ostId, () => rig.watched.get(ostId)!.cut());
    volume.abandon();
    await goOn();
    await until(async () => (await sessionsOn(ostId)) === 0);
    await volume.close();
  });

  test('when another OST has refused the open meanwhile', async () => {
    await rig.create('v');
    const [first, second] = (await rig.object('v')).members.map(({ ostId }) => ostId);
    let opening: Promise<unknown> = Promise.resolve();
    rig.watched.get(second!)!.beforeCall = async (method) => {
      if (method === 'ost.attach') throw new RawstorError('FENCED', 'refused by the test');
    };
    const goOn = await keepBack(first!, () => {
      opening = rig.cluster.openVolume('v', { mode: 'write' }).catch((error) => error);
    });
    expect(await opening).toMatchObject({ code: 'FENCED' });
    await goOn();
    await until(async () => (await sessionsOn(first!)) === 0);
  });
});
