import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, expect, test } from 'vitest';
import type { Volume } from '../../../src/client/index.js';
import { systemClock } from '../../../src/common/clock.js';
import { RawstorError } from '../../../src/common/errors.js';
import { silentLogger } from '../../../src/common/log.js';
import { KiB } from '../../../src/common/units.js';
import { Nodes } from '../../../src/fuse/nodes.js';
import { OpenFiles } from '../../../src/fuse/open-files.js';
import type { Store } from '../../../src/fuse/store.js';
import { Requests } from './requests.js';
import { FileRig } from './rig.js';

let rig: FileRig;
afterEach(() => rig.stop());
const requests = new Requests(() => rig);

test('a volume that can serve no more is opened anew, for who opens it then', async () => {
  rig = new FileRig(64 * KiB, { sizeBytes: 100, modifiedWallMs: 1 });
  const opened: Pick<Volume, 'onFatal'>[] = [];
  const openWrite = async () => {
    const volume = { ...rig.volume, object: rig.volume.object, limits: rig.volume.limits, onFatal: null };
    opened.push(volume);
    return volume;
  };
  const store = { openWrite, remove: async () => {} } as unknown as Store;
  const nodes = new Nodes();
  const files = new OpenFiles({
    io: rig.io,
    clock: systemClock,
    log: silentLogger,
    store,
    nodes,
    readBusy: false,
  });
  const info = { ...rig.volume.object, id: 'id' };
  const open = () => files.open('id', info, null, true);
  const one = await open();
  await open();
  expect(opened.length).toBe(1);
  opened[0]!.onFatal!(new RawstorError('FENCED', 'taken over'));
  const three = await open();
  expect(opened.length).toBe(2);
  expect(files.handle(three)!.file).not.toBe(files.handle(one)!.file);
  expect(files.find('id')).toBe(files.handle(three)!.file);
  await files.release(one);
  expect(files.find('id')).toBe(files.handle(three)!.file);
  await files.close();
});

test('what somebody else makes a volume that is open here stays when it is closed', async () => {
  rig = new FileRig(64 * KiB, { sizeBytes: 1000, modifiedWallMs: 1 });
  await rig.file.open(true);
  for (const sizeBytes of [128 * KiB, 4 * KiB]) {
    await rig.volume.change({ kind: 'resize', sizeBytes });
    rig.file.resized();
    expect(rig.file.sizeBytes).toBe(sizeBytes);
  }
  await requests.write(0, Buffer.alloc(100, 1));
  await rig.file.close();
  expect(rig.volume.sizeBytes).toBe(4 * KiB);
});

test('a file waits to grow until its replicas are in order', async () => {
  rig = new FileRig(512, { sizeBytes: 0, modifiedWallMs: 1 });
  await rig.file.open(true);
  rig.volume.refuses = true;
  const written = requests.write(0, Buffer.alloc(10_000, 1));
  await sleep(10);
  rig.volume.refuses = false;
  await written;
  expect(rig.file.sizeBytes).toBe(10_000);
  await rig.file.close();
});
