import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { placeOf } from '../../src/ost/place.js';
import type { BootId } from '../../src/protocol/index.js';
import { canMakeNamespaces, Host } from '../interop/namespaces/hosts.js';
import { OstProcess, objectRecord, openIo, temporaryDirectory, Writer } from '../unit/ost/support.js';
import { type DiskKind, TortureDisk } from './disk.js';

/** A file system that dies and is mounted again, while the kernel goes on: what was not synced is gone, and the boot id says so. */

const MINUTES = 60_000;
const record = objectRecord(1);

let host: Host | null = null;
let disk: TortureDisk | null = null;

afterEach(async () => {
  await host?.end();
  disk?.remove();
  host = null;
  disk = null;
}, MINUTES);

async function mounted(kind: DiskKind): Promise<TortureDisk> {
  host = new Host(join(temporaryDirectory(), 'host'), '127.0.0.1');
  await host.ready();
  disk = await TortureDisk.make(host, 'disk', kind);
  return disk;
}

let attaches = 0;

/** Starts an OST, writes something that is not flushed, and ends it. */
async function served(path: string, signal: 'SIGKILL' | 'SIGTERM'): Promise<BootId> {
  const ost = await OstProcess.start(path);
  const writer = await Writer.connect(openIo(), ost.address);
  const { bootId } = await writer.attach(record, 5, ++attaches);
  expect((await writer.write(0, 0, Buffer.alloc(65_536, 7))).status).toBe('OK');
  writer.peer.destroy();
  await ost.kill(signal);
  return bootId;
}

describe.skipIf(!(await canMakeNamespaces()))('a file system that is mounted again', () => {
  it.each<DiskKind>(['ext4', 'xfs'])(
    'is another one for an OST that was killed, and the same for one that was stopped (%s)',
    async (kind) => {
      const torture = await mounted(kind);
      const path = join(torture.pathOutside, 'ost');
      const first = await served(path, 'SIGKILL');
      expect(await served(path, 'SIGKILL')).toEqual(first);
      await torture.cutPower();
      await torture.powerOn();
      const second = await served(path, 'SIGTERM');
      expect(second).toEqual({ kernel: first.kernel, generation: first.generation + 1 });
      await torture.powerOn();
      expect(await served(path, 'SIGKILL')).toEqual(second);
    },
    2 * MINUTES,
  );

  it(
    'is the same seen from another mount namespace, where /sys tells',
    async () => {
      const torture = await mounted('ext4');
      const copy = join(host!.dir, 'bound');
      await host!.command('mkdir', copy);
      await host!.command('mount', '--bind', torture.path, copy);
      const outside = join(`/proc/${host!.pid}/root`, copy);
      expect(placeOf(outside)).toEqual(placeOf(torture.pathOutside));
      expect(placeOf(outside).mount).toMatch(/^ext4 loop/);
    },
    MINUTES,
  );
});
