import { BlockFlag, BlockOp, BlockRequest } from '../../src/block/device.js';
import type { Volume } from '../../src/client/index.js';
import { openVolume } from '../../src/client/open.js';
import { asRawstorError, type RawstorError } from '../../src/common/errors.js';
import type { Random } from '../../src/common/random.js';
import { heapMemory } from '../../src/io/memory.js';
import type { StoredObject } from '../../src/mds/stored-object.js';
import { clientEnvironment } from './client-environment.js';
import type { Cluster } from './cluster.js';
import { MdsLink } from './mds-node.js';
import { BLOCK_BYTES, type Cut, Oracle, type Write } from './oracle.js';
import { SimProcess } from './process.js';

const THINK_MS = 300;
const DEATHS = 0.06;
/** What an operation may fail with where disks and machines fail so. */
const MAY_FAIL = ['LOSS', 'NO_SPACE', 'IO', 'UNAVAILABLE', 'FENCED', 'NOT_FOUND'];

/** A clone, and who uses it: one operation at a time, killed now and then, by a process that is started again. */
export class CloneGuest {
  readonly id: string;
  readonly name: string;
  readonly oracle: Oracle;
  readonly sizeBytes: number;
  /** Its removal was asked for: nothing is expected of it any more. */
  removing = false;
  closed = false;
  operations = 0;
  private readonly cluster: Cluster;
  private readonly random: Random;
  private process: SimProcess;
  volume: Volume | null = null;
  private stopping = false;

  constructor(
    cluster: Cluster,
    random: Random,
    clone: { id: string; name: string; sizeBytes: number; cut: Cut; firstValue: number },
  ) {
    this.cluster = cluster;
    this.random = random;
    this.id = clone.id;
    this.name = clone.name;
    this.sizeBytes = clone.sizeBytes;
    this.oracle = new Oracle(cluster.world, cluster.blockCount, clone.firstValue, clone.cut);
    this.process = this.newProcess();
  }

  /** The record has changed. */
  committed(before: StoredObject, after: StoredObject): void {
    if ((after.object.lossEpoch ?? 0) === (before.object.lossEpoch ?? 0)) return;
    this.cluster.world.count('cloneLosses');
    this.oracle.lossRecorded();
  }

  /** To the end of the load: then everything is read and it is closed. */
  stop(): void {
    this.stopping = true;
  }

  kill(): void {
    this.process.kill();
    this.volume = null;
  }

  private newProcess(): SimProcess {
    const process = new SimProcess(this.cluster.world, `host${this.random.below(2)}`);
    process.later(this.random.below(THINK_MS), '', () => this.run(process));
    return process;
  }

  private restart(): void {
    this.kill();
    if (!this.removing) this.process = this.newProcess();
  }

  private async run(process: SimProcess): Promise<void> {
    const { cluster } = this;
    const { world, network, mds } = cluster;
    const link = new MdsLink(world, network, process, mds);
    const env = clientEnvironment(cluster, process);
    try {
      const options = { mode: 'write', force: true, timeoutMs: 5000 } as const;
      const volume = await openVolume(env, link as never, this.id, options, this.name);
      volume.onFatal = (error) => this.ended(process, error);
      this.volume = volume;
      world.count('cloneOpens');
      // What is lost is told by now: from here on nothing goes back again.
      this.lossKnown();
      while (process === this.process && this.volume === volume) {
        if (this.stopping) return await this.finish(process, volume);
        await this.one(volume);
        await process.clock.sleep(this.random.below(THINK_MS));
        if (!this.stopping && this.random.next() < DEATHS) return this.restart();
      }
    } catch (error) {
      if (process === this.process) this.ended(process, asRawstorError(error));
    }
  }

  /** Its process cannot go on. */
  private ended(process: SimProcess, error: RawstorError): void {
    if (process !== this.process || this.closed) return;
    const { world } = this.cluster;
    world.count(`clone ${error.code}`);
    if (error.code === 'INTERNAL') world.fail(`${this.name}: ${error.stack} ${error.cause}`);
    this.restart();
  }

  private async one(volume: Volume): Promise<void> {
    const kind = this.random.next();
    const blocks = this.cluster.blocksIn(this.sizeBytes);
    const block = blocks[this.random.below(blocks.length)]!;
    this.operations++;
    this.cluster.world.count('cloneOperations');
    if (kind < 0.03 && volume.object.parent !== null) return this.flatten(volume);
    if (kind < 0.15) return this.flush(volume);
    if (kind < 0.5) return this.read(volume, block);
    return this.write(volume, block, kind < 0.6);
  }

  private async flatten(volume: Volume): Promise<void> {
    this.cluster.world.count('flattens');
    await volume.change({ kind: 'flattened' }).then(
      () => this.cluster.world.count('flattened'),
      (error) => {
        const { code } = asRawstorError(error);
        this.cluster.world.count(`flattened ${code}`);
        if (code === 'INTERNAL' || code === 'INVALID') this.cluster.world.fail(`flatten: ${error.stack}`);
      },
    );
  }

  private async flush(volume: Volume): Promise<void> {
    const flushed = this.oracle.beginFlush();
    if (await this.submit(volume, BlockOp.FLUSH, 0, null)) this.oracle.flushDone(flushed);
  }

  private async read(volume: Volume, block: number): Promise<void> {
    const check = this.oracle.beginRead(block);
    const { losses } = this.oracle;
    const memory = heapMemory(BLOCK_BYTES);
    if (!(await this.submit(volume, BlockOp.READ, block, memory))) return;
    // One recorded meanwhile: what is read may be gone.
    if (losses === this.oracle.losses) this.oracle.readDone(check, memory.bytes, this.name);
  }

  private async write(volume: Volume, block: number, zero: boolean): Promise<void> {
    const write: Write = this.oracle.issue(block, zero);
    const memory = heapMemory(BLOCK_BYTES);
    this.oracle.fill(write, memory.bytes);
    const { losses } = this.oracle;
    const op = zero ? BlockOp.WRITE_ZEROES : BlockOp.WRITE;
    const done = await this.submit(volume, op, block, zero ? null : memory);
    if (done) this.oracle.acknowledged(write, false, 0);
    else this.oracle.forgotten(write);
    if (losses !== this.oracle.losses) this.lossKnown();
  }

  private lossKnown(): void {
    if (this.oracle.losses > 0) this.oracle.lossRecorded();
  }

  private submit(
    volume: Volume,
    op: BlockOp,
    block: number,
    memory: ReturnType<typeof heapMemory> | null,
  ): Promise<boolean> {
    const { world } = this.cluster;
    return new Promise((resolve) => {
      const blockDone = (_: BlockRequest, error: RawstorError | null) => {
        if (error !== null) world.count(`clone operation ${error.code}`);
        if (error !== null && !MAY_FAIL.includes(error.code)) {
          world.fail(`${this.name}: operation ${op} failed with ${error.code}: ${error.message}`);
        }
        resolve(error === null);
      };
      const request = new BlockRequest({ blockDone });
      const isFlush = op === BlockOp.FLUSH;
      const offset = isFlush ? 0 : this.cluster.offsetOf(block);
      Object.assign(request, { op, offset, length: isFlush ? 0 : BLOCK_BYTES });
      if (op === BlockOp.WRITE_ZEROES) request.flags |= BlockFlag.MAY_UNMAP;
      if (memory !== null) request.slices.add(memory, 0, BLOCK_BYTES);
      volume.submit(request);
    });
  }

  private async finish(process: SimProcess, volume: Volume): Promise<void> {
    const { mds } = this.cluster;
    const whole = () => {
      const { unreconciledRegions, members } = volume.status();
      return unreconciledRegions === 0 && members.every((member) => member.state === 'in-sync');
    };
    const isMoving = () => {
      const { wanted = null, left = [] } = mds.find(this.id) ?? {};
      return wanted !== null || left.length > 0;
    };
    while (!whole() || isMoving()) {
      if (process !== this.process || this.volume !== volume) return;
      await process.clock.sleep(100);
    }
    for (const block of this.cluster.blocksIn(this.sizeBytes)) await this.read(volume, block);
    this.closed = true;
    await volume.close();
    this.volume = null;
  }
}
