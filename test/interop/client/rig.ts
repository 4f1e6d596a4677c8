import { mkdtempSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'vitest';
import { type BlockDevice, BlockOp, BlockRequest } from '../../../src/block/device.js';
import { Cluster, type ClusterOptions, type Volume } from '../../../src/client/index.js';
import { systemClock } from '../../../src/common/clock.js';
import { RawstorError } from '../../../src/common/errors.js';
import { silentLogger } from '../../../src/common/log.js';
import { MiB } from '../../../src/common/units.js';
import { createIo, type Io, type Memory, mapAnonymous } from '../../../src/io/index.js';
import { DEFAULT_LEASE_TIMES, type RunningMds, startMds } from '../../../src/mds/index.js';
import { type OstTuning, type RunningOst, startOst } from '../../../src/ost/index.js';
import type { Place } from '../../../src/ost/place.js';
import type { CreateSpec } from '../../../src/protocol/index.js';
import { type Faults, withFaults } from '../../fixtures/faulty-io.js';
import { WatchedOst } from './watched-ost.js';

const clock = systemClock;
const log = silentLogger;
const memory = mapAnonymous(4 * MiB);

/** A real MDS and real OSTs in this process, and a client whose ways to the OSTs a test watches. */
export class ClientRig {
  readonly dir = mkdtempSync(join(tmpdir(), 'rawstor-client-'));
  readonly io: Io = createIo({ poolBytes: 64 * MiB });
  /** By OST id. */
  readonly watched = new Map<string, WatchedOst>();
  cluster!: Cluster;
  /** Of OSTs that are started next. Also where a directory is put back from a copy it is the same; another one: something was lost. */
  place: Place = { mount: 'here', directory: 'here' };
  private tuning: Partial<OstTuning> = {};
  /** Of the files of OSTs. */
  private faults: Faults | null = null;
  private mds!: RunningMds;
  private readonly osts = new Map<string, RunningOst>();
  private readonly order: string[] = [];

  static async start(
    count = 2,
    tuning: Partial<OstTuning> = {},
    faults: Faults | null = null,
  ): Promise<ClientRig> {
    const rig = new ClientRig();
    rig.tuning = tuning;
    rig.faults = faults;
    await rig.startMds();
    for (let i = 0; i < count; i++) await rig.startOst(i);
    rig.cluster = await rig.connect('test');
    await until(async () => (await rig.cluster.mds.call('mds.listOsts', {})).osts.length === count);
    return rig;
  }

  /** One more client of the cluster. */
  connect(name: string, options: Partial<ClusterOptions> = {}): Promise<Cluster> {
    const { io, watched: localOsts } = this;
    const location = this.mdsAddress;
    return Cluster.connect({ location, io, clock, log, name, localOsts, ...options });
  }

  async startMds(leaseMs = DEFAULT_LEASE_TIMES.leaseMs): Promise<void> {
    const { io } = this;
    const leaseTimes = { ...DEFAULT_LEASE_TIMES, leaseMs };
    const dir = join(this.dir, 'mds');
    this.mds = await startMds({ dir, listen: this.mdsAddress, io, clock, log, leaseTimes });
  }

  stopMds(): Promise<void> {
    return this.mds.close();
  }

  async create(name: string, change: object = {}): Promise<void> {
    await this.cluster.createVolume({ ...this.spec(name), ...change });
  }

  spec(name: string): CreateSpec {
    return {
      name,
      sizeBytes: 16 * MiB,
      chunkSizeBytes: 4 * MiB,
      replicas: 2,
      minReplicas: 1,
      stripeWidth: 1,
      failureDomain: 'host',
      near: null,
      onDegraded: 'pause',
    };
  }

  /** As if the gateway had been killed: no seal, no close. */
  forget(volume: Volume): void {
    const killed = new RawstorError('UNAVAILABLE', 'killed by the test');
    (volume as unknown as { fail(error: RawstorError): void }).fail(killed);
  }

  ostAddress(index: number): string {
    return `unix:${this.dir}/ost${index}.sock`;
  }

  indexOf(ostId: string): number {
    return this.order.indexOf(ostId);
  }

  async stopOst(index: number): Promise<void> {
    const ostId = this.order[index]!;
    await this.osts.get(ostId)!.close();
    this.osts.delete(ostId);
  }

  /** As the MDS has it. */
  async object(name: string) {
    return this.cluster.mds.call('mds.getObj', { ref: name });
  }

  /** The ways to the OSTs of a volume, in the order of its members. */
  ostsOf(volume: Volume): WatchedOst[] {
    return volume.object.members.map((member) => this.watched.get(member.ostId)!);
  }

  async end(): Promise<void> {
    for (const ost of this.watched.values()) ost.release();
    await this.cluster.close();
    for (const ost of this.osts.values()) await ost.close();
    await this.mds.close();
    await this.io.close();
    await rm(this.dir, { recursive: true });
  }

  /** Directory of the chunk files of an object on one of its OSTs. */
  chunksOf(ostId: string, objectId: string): string {
    return join(this.dir, `ost${this.order.indexOf(ostId)}`, 'chunks', objectId.slice(-2), objectId);
  }

  private get mdsAddress(): string {
    return `unix:${this.dir}/mds.sock`;
  }

  async startOst(index: number): Promise<void> {
    const io = this.faults === null ? this.io : withFaults(this.io, this.faults);
    const ost = await startOst({
      dir: join(this.dir, `ost${index}`),
      listen: [this.ostAddress(index)],
      labels: { host: `h${index}` },
      mdsAddresses: [this.mdsAddress],
      io,
      clock,
      log,
      place: this.place,
      tuning: { heartbeatMs: 200, ...this.tuning },
    });
    this.order[index] = ost.ostId;
    this.osts.set(ost.ostId, ost);
    const connector = () => this.osts.get(ost.ostId)!.connector;
    if (!this.watched.has(ost.ostId)) this.watched.set(ost.ostId, new WatchedOst(connector));
  }
}

export async function until(what: () => boolean | Promise<boolean>, timeoutMs = 20_000): Promise<void> {
  const end = Date.now() + timeoutMs;
  while (!(await what())) {
    if (Date.now() > end) throw new Error(`not within ${timeoutMs} ms: ${what}`);
    await clock.sleep(10);
  }
}

/** Submits a request; null is success. One that carries data at a time, or each with memory of its own. */
export function submit(
  volume: BlockDevice,
  op: BlockOp,
  offset = 0,
  length = 0,
  byte = 0xee,
  own: Memory = memory,
): Promise<RawstorError | null> {
  return new Promise((resolve) => {
    const request = new BlockRequest({ blockDone: (_request, error) => resolve(error) });
    request.op = op;
    request.offset = offset;
    request.length = length;
    if (op === BlockOp.READ || op === BlockOp.WRITE) {
      own.bytes.fill(byte, 0, length);
      request.slices.add(own, 0, length);
    }
    volume.submit(request);
  });
}

export async function write(volume: BlockDevice, offset: number, byte: number, length = 4096): Promise<void> {
  expect(await submit(volume, BlockOp.WRITE, offset, length, byte)).toBeNull();
}

export async function flush(volume: BlockDevice): Promise<void> {
  expect(await submit(volume, BlockOp.FLUSH)).toBeNull();
}

/** The byte that all of a range has. */
export async function readByte(volume: BlockDevice, offset: number, length = 4096): Promise<number> {
  expect(await submit(volume, BlockOp.READ, offset, length)).toBeNull();
  const [byte, ...others] = new Set(memory.bytes.subarray(0, length));
  expect(others).toEqual([]);
  return byte!;
}

export async function expectBytes(volume: BlockDevice, offset: number, byte: number): Promise<void> {
  expect(await readByte(volume, offset)).toBe(byte);
}

export const states = (volume: Volume) => volume.status().members.map((member) => member.state);

/** True when the promise has been settled after what can happen meanwhile. */
export async function isSettled(promise: Promise<unknown>, withinMs = 100): Promise<boolean> {
  return Promise.race([promise.then(() => true), clock.sleep(withinMs).then(() => false)]);
}
