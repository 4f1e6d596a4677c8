import { mkdtempSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { BlockFlag, BlockOp, BlockRequest } from '../../src/block/device.js';
import { Cluster, type Volume } from '../../src/client/index.js';
import { systemClock } from '../../src/common/clock.js';
import type { RawstorError } from '../../src/common/errors.js';
import { silentLogger } from '../../src/common/log.js';
import { seededRandom } from '../../src/common/random.js';
import { KiB, MiB } from '../../src/common/units.js';
import { createIo, type Io, mapAnonymous } from '../../src/io/index.js';
import { type RunningMds, startMds } from '../../src/mds/index.js';
import { type RunningOst, startOst } from '../../src/ost/index.js';

/** A whole cluster over real sockets, files and LMDB, in this process; OSTs are ended and started again. */

const log = silentLogger;
const clock = systemClock;

let io: Io;
let dir: string;
let mds: RunningMds;
let osts: (RunningOst | null)[];
let cluster: Cluster;

async function startOne(index: number): Promise<void> {
  osts[index] = await startOst({
    dir: join(dir, `ost${index}`),
    listen: [`unix:${dir}/ost${index}.sock`],
    labels: { host: `h${index}` },
    mdsAddresses: mds.addresses,
    io,
    clock,
    log,
    tuning: { heartbeatMs: 200 },
  });
}

async function stopOne(index: number): Promise<void> {
  const ost = osts[index];
  osts[index] = null;
  await ost?.close();
}

async function until(what: () => boolean | Promise<boolean>, timeoutMs = 20_000): Promise<void> {
  const end = Date.now() + timeoutMs;
  while (!(await what())) {
    if (Date.now() > end) throw new Error(`not within ${timeoutMs} ms: ${what}`);
    await clock.sleep(20);
  }
}

beforeEach(async () => {
  io = createIo({ poolBytes: 64 * MiB });
  dir = mkdtempSync(join(tmpdir(), 'rawstor-cluster-'));
  mds = await startMds({ dir: join(dir, 'mds'), listen: `unix:${dir}/mds.sock`, io, clock, log });
  osts = [null, null, null];
  for (let i = 0; i < 3; i++) await startOne(i);
  cluster = await Cluster.connect({ location: `unix:${dir}/mds.sock`, io, clock, log, name: 'test' });
  await until(async () => (await cluster.mds.call('mds.listOsts', {})).osts.length === 3);
});

afterEach(async () => {
  await cluster.close();
  for (let i = 0; i < 3; i++) await stopOne(i);
  await mds.close();
  await io.close();
  await rm(dir, { recursive: true });
});

const create = (name: string, change: object = {}) =>
  cluster.mds.call('mds.createObject', {
    name,
    sizeBytes: 16 * MiB,
    chunkSizeBytes: 4 * MiB,
    replicas: 2,
    minReplicas: 1,
    stripeWidth: 1,
    failureDomain: 'host',
    near: null,
    onDegraded: 'pause',
    ...change,
  });

const memory = mapAnonymous(4 * MiB);

function run(
  volume: Volume,
  op: BlockOp,
  offset: number,
  length: number,
  flags = 0,
): Promise<RawstorError | null> {
  return new Promise((resolve) => {
    const request = new BlockRequest({ blockDone: (_request, error) => resolve(error) });
    request.op = op;
    request.offset = offset;
    request.length = length;
    request.flags = flags;
    if (op === BlockOp.READ || op === BlockOp.WRITE) request.slices.add(memory, 0, length);
    volume.submit(request);
  });
}

async function write(volume: Volume, offset: number, bytes: Buffer, flags = 0): Promise<void> {
  bytes.copy(memory.bytes);
  expect(await run(volume, BlockOp.WRITE, offset, bytes.length, flags)).toBeNull();
}

async function read(volume: Volume, offset: number, length: number): Promise<Buffer> {
  memory.bytes.fill(0xee, 0, length);
  expect(await run(volume, BlockOp.READ, offset, length)).toBeNull();
  return Buffer.from(memory.bytes.subarray(0, length));
}

const indexOf = (ostId: string) => osts.findIndex((ost) => ost?.ostId === ostId);
const states = (volume: Volume) => volume.status().members.map((member) => member.state);

/** Random writes, zeroes and discards on the volume and on a model of it. */
async function churn(volume: Volume, model: Buffer, seed: number, count: number): Promise<void> {
  const random = seededRandom(seed);
  for (let i = 0; i < count; i++) {
    const length = 512 * (1 + random.below(300));
    const offset = 512 * random.below((model.length - length) / 512);
    const kind = random.below(10);
    if (kind < 7) {
      const bytes = Buffer.alloc(length, 1 + random.below(255));
      await write(volume, offset, bytes, kind === 0 ? BlockFlag.FUA : 0);
      bytes.copy(model, offset);
    } else {
      const op = kind === 7 ? BlockOp.DISCARD : BlockOp.WRITE_ZEROES;
      expect(await run(volume, op, offset, length, kind === 8 ? BlockFlag.MAY_UNMAP : 0)).toBeNull();
      model.fill(0, offset, offset + length);
    }
  }
}

async function expectSame(volume: Volume, model: Buffer): Promise<void> {
  for (let at = 0; at < model.length; at += MiB) {
    const got = await read(volume, at, MiB);
    expect(got.equals(model.subarray(at, at + MiB)), `bytes from ${at} on`).toBe(true);
  }
}

describe('a cluster of three OSTs', () => {
  test.each([
    ['one set', { stripeWidth: 1 }],
    ['spread over all', { stripeWidth: 'all' }],
    ['three replicas', { replicas: 3 }],
    ['one replica', { replicas: 1 }],
  ])('what is written is read again, also after a clean close: %s', async (_name, change) => {
    await create('vm1', change);
    const model = Buffer.alloc(16 * MiB);
    const volume = await cluster.openVolume('vm1', { mode: 'write' });
    await churn(volume, model, 1, 150);
    await expectSame(volume, model);
    expect(await run(volume, BlockOp.FLUSH, 0, 0)).toBeNull();
    await volume.close();
    const info = await cluster.mds.call('mds.getObj', { ref: 'vm1' });
    expect(info.clean).toBe(true);
    expect(info.lease).toBeNull();
    const again = await cluster.openVolume('vm1', { mode: 'write' });
    expect(again.status().unreconciledRegions).toBe(0);
    await expectSame(again, model);
    await again.close();
  });

  test('an OST that ends is dropped, comes back, is resynced; then the other one ends', async () => {
    await create('vm1');
    const model = Buffer.alloc(16 * MiB);
    const volume = await cluster.openVolume('vm1', { mode: 'write' });
    await churn(volume, model, 2, 60);
    const [first, second] = volume.object.members.map((member) => indexOf(member.ostId));
    await stopOne(second!);
    await churn(volume, model, 3, 60);
    await expectSame(volume, model);
    expect(states(volume).sort()).toEqual(['in-sync', 'stale']);
    await startOne(second!);
    const during = churn(volume, model, 4, 60);
    await until(() => states(volume).every((state) => state === 'in-sync'));
    await during;
    await stopOne(first!);
    await expectSame(volume, model);
    await churn(volume, model, 5, 40);
    await expectSame(volume, model);
    await startOne(first!);
    await until(() => states(volume).every((state) => state === 'in-sync'));
    await volume.close();
  });

  test('a second writer is refused; with force the first one is fenced and acknowledges nothing more', async () => {
    await create('vm1');
    const first = await cluster.openVolume('vm1', { mode: 'write', holder: 'one' });
    await write(first, 0, Buffer.alloc(4 * KiB, 1));
    await expect(cluster.openVolume('vm1', { mode: 'write', holder: 'two' })).rejects.toMatchObject({
      code: 'BUSY',
    });
    const second = await cluster.openVolume('vm1', { mode: 'write', holder: 'two', force: true });
    expect((await read(second, 0, 4 * KiB))[0]).toBe(1);
    memory.bytes.fill(9, 0, 4 * KiB);
    expect(await run(first, BlockOp.WRITE, 0, 4 * KiB)).toMatchObject({ code: 'FENCED' });
    expect((await read(second, 0, 4 * KiB))[0]).toBe(1);
    await second.close();
    await first.close();
  });

  test('after an unclean end the replicas are made equal before they are read', async () => {
    await create('vm1');
    const model = Buffer.alloc(16 * MiB);
    const first = await cluster.openVolume('vm1', { mode: 'write', holder: 'one' });
    await churn(first, model, 6, 60);
    const second = await cluster.openVolume('vm1', { mode: 'write', holder: 'two', force: true });
    await expectSame(second, model);
    await until(() => second.status().unreconciledRegions === 0);
    await second.close();
    await first.close();
  });

  test('holes stay holes in the allocation map', async () => {
    await create('vm1');
    const volume = await cluster.openVolume('vm1', { mode: 'write' });
    await write(volume, 5 * MiB, Buffer.alloc(64 * KiB, 7));
    const extents = await volume.extents(0, 16 * MiB);
    expect(extents.map((extent) => [extent.lengthBytes, extent.hole])).toEqual([
      [5 * MiB, true],
      [64 * KiB, false],
      [11 * MiB - 64 * KiB, true],
    ]);
    await volume.close();
  });
});
