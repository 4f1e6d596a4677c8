import { readdirSync, truncateSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { MiB } from '../../../src/common/units.js';
import { ClientRig, expectBytes, until, write } from './rig.js';

test('what the last replica has flattened and lost with power is flattened again before the parent is let go', async () => {
  const rig = await ClientRig.start(1);
  await rig.create('parent', { replicas: 1 });
  const parent = await rig.cluster.openVolume('parent', { mode: 'write' });
  await write(parent, 0, 0x11);
  await write(parent, 4 * MiB, 0x22);
  await parent.change({ kind: 'snapshot', name: 'monday' });
  await parent.close();
  const { version } = (await rig.object('parent')).snapshots[0]!;
  await rig.cluster.cloneVolume({ ref: 'parent', version, name: 'clone' });
  const clone = await rig.cluster.openVolume('clone', { mode: 'write' });
  const [ost] = rig.ostsOf(clone);
  let calls = 0;
  let proceed = () => {};
  const secondMay = new Promise<void>((resolve) => {
    proceed = resolve;
  });
  ost!.beforeCall = async (method) => {
    if (method === 'ost.flatten' && ++calls === 2) await secondMay;
  };
  const flattening = clone.change({ kind: 'flattened' });
  await until(() => calls === 2 && ost!.called.includes('ost.flatten'));

  // Power goes: what it has not flushed is gone.
  ost!.away = true;
  ost!.cut();
  await rig.stopOst(0);
  const chunks = rig.chunksOf([...rig.watched.keys()][0]!, clone.object.id);
  for (const file of readdirSync(chunks)) truncateSync(join(chunks, file), 0);
  await rig.startOst(0);
  ost!.losses++;
  ost!.away = false;
  proceed();

  expect((await flattening).parent).toBeNull();
  await expectBytes(clone, 0, 0x11);
  await expectBytes(clone, 4 * MiB, 0x22);
  await clone.close();
  await rig.end();
});
