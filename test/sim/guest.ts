import { BlockFlag, BlockOp, type BlockRequest } from '../../src/block/device.js';
import type { Volume } from '../../src/client/index.js';
import { openVolume } from '../../src/client/open.js';
import type { OpenVolumeOptions } from '../../src/client/open-options.js';
import { asRawstorError, type RawstorError } from '../../src/common/errors.js';
import { REBUILT_HOLDER } from '../../src/mds/rebuild/judge.js';
import { clientEnvironment } from './client-environment.js';
import { CHUNK_BYTES, type Cluster } from './cluster.js';
import { GuestRequest } from './guest-request.js';
import { KEEPER } from './keeper.js';
import { MdsLink } from './mds-node.js';
import { BLOCK_BYTES } from './oracle.js';
import { SimProcess } from './process.js';
import { TOOL } from './snapshots.js';

const DEPTH = 6;
const OPEN_RETRY_MS = 300;

/** A virtual machine and the gateway that serves its disk. */
export class Guest {
  /** Of the machine it runs on. */
  name: string;
  /** Who has the lease for it. */
  holder: string;
  readonly cluster: Cluster;
  process: SimProcess;
  alive = true;
  /** Another guest has opened the volume since: nothing of this one may succeed any more. */
  superseded = false;
  opening = false;
  /** Since when a loss is known that no flush has told the guest of. */
  private lossUntoldMs = Number.POSITIVE_INFINITY;
  /** A takeover is one until it has succeeded, also when its gateway is started again meanwhile. */
  protected hasOpened = false;
  protected takesOver: boolean;
  protected attempt = 0;
  protected readonly outstanding = new Set<GuestRequest>();
  /** By offset, of the last write: one at a time is on its way. */
  private readonly sentTags = new Map<number, number>();
  protected readonly busyBlocks = new Map<number, number>();
  protected stopping = false;
  private opened: Volume | null = null;

  constructor(cluster: Cluster, name: string, holder: string, takesOver: boolean) {
    this.takesOver = takesOver;
    this.holder = holder;
    this.cluster = cluster;
    this.name = name;
    this.process = new SimProcess(cluster.world, name);
  }

  get idle(): boolean {
    return this.outstanding.size === 0;
  }

  /** Of the gateway that serves it. */
  get volume(): Volume | null {
    return this.opened;
  }

  /** Whether it had the volume before that epoch. */
  wasBefore(epoch: number): boolean {
    return this.opened !== null && this.opened.object.epoch < epoch;
  }

  /** Whether its disk takes requests. */
  protected get ready(): boolean {
    return this.opened !== null;
  }

  /** Whether it stays where it is. */
  get settled(): boolean {
    return true;
  }

  protected send(block: BlockRequest): void {
    this.opened!.submit(block);
  }

  /** To the end of a history. */
  async close(): Promise<void> {
    await this.opened!.close();
  }

  /** Opens the volume, again and again until it works, and begins (or goes on) with the load. */
  open(): void {
    // Whose turn it is has been decided since: no tug of war.
    if (this.cluster.former.includes(this) && !this.hasOpened) return this.die();
    const options: OpenVolumeOptions = { mode: 'write', force: this.takesOver && !this.hasOpened };
    const { process } = this;
    this.opening = true;
    const { env, link } = this.client(process);
    openVolume(env, link as never, 'v', { ...options, timeoutMs: 5000 }, this.holder).then(
      (volume) => {
        if (!process.alive || process !== this.process) return;
        this.opened = volume;
        volume.onFatal = (error) => this.fatal(error);
        this.hasVolume(volume);
        this.begin();
      },
      (error) => this.cannotOpen(process, error),
    );
  }

  /** What a gateway of this guest runs on. */
  protected client(process: SimProcess): { env: ReturnType<typeof clientEnvironment>; link: MdsLink } {
    const { cluster } = this;
    const { world, network, mds } = cluster;
    const link = new MdsLink(world, network, process, mds);
    link.onAsked = (method, params) => cluster.audit.asked(method, params);
    link.onLossAnswered = () => {
      cluster.lossKnown();
      this.lossUntoldMs = world.nowMs;
    };
    const env = clientEnvironment(cluster, process, (op) =>
      this.sentTags.set(op.chunk * CHUNK_BYTES + op.offset, op.tag),
    );
    return { env, link };
  }

  /** Its gateway is the writer. */
  protected hasVolume(volume: Volume): void {
    this.hasOpened = true;
    this.cluster.world.trace(`${this.name} has opened, epoch ${volume.object.epoch}`);
    this.cluster.opened(this, volume);
  }

  /** What was not answered is sent to the gateway that is there now; then the load goes on. */
  protected begin(): void {
    this.opening = false;
    this.attempt++;
    for (const request of this.outstanding) this.submit(request);
    this.load();
  }

  protected cannotOpen(process: SimProcess, error: unknown): void {
    if (!process.alive || process !== this.process) return;
    const { world, former } = this.cluster;
    const failure = asRawstorError(error);
    world.trace(`${this.name} cannot open: ${failure.code}`);
    if (failure.code === 'INTERNAL') world.fail(`open: ${failure.cause ?? failure.message}`);
    world.count(`open ${failure.code}`);
    // By one that came later, whose turn it is.
    if (former.includes(this)) return this.die();
    process.later(OPEN_RETRY_MS, 'opens again', () => this.open());
  }

  /** The gateway is killed and started again; the guest waits and sends again what was not answered. */
  restartGateway(): void {
    this.killGateway();
    this.process = new SimProcess(this.cluster.world, this.name);
    const delayMs = this.cluster.world.between(10, 1500);
    this.process.later(delayMs, 'gateway restarts', () => this.open());
  }

  die(): void {
    this.alive = false;
    this.killGateway();
    this.forgetWrites();
    this.outstanding.clear();
  }

  /** Another has opened the volume: nothing of this one succeeds, and nothing of it is applied, from now on. */
  supersede(): void {
    this.superseded = true;
    this.forgetWrites();
  }

  protected forgetWrites(): void {
    for (const { write } of this.outstanding) if (write !== null) this.cluster.oracle.forgotten(write);
  }

  /** No new requests. */
  stop(): void {
    this.stopping = true;
  }

  /** One read of every block. */
  readAll(): void {
    const { cluster } = this;
    for (let block = 0; block < cluster.blockCount; block++) {
      if (cluster.snapshots?.isOpen(block) === false) continue;
      const request = new GuestRequest(this);
      request.asRead(cluster, block);
      this.outstanding.add(request);
      this.submit(request);
    }
  }

  protected killGateway(): void {
    this.opened = null;
    this.opening = false;
    this.attempt++;
    this.process.kill();
  }

  protected fatal(error: RawstorError): void {
    if (error.code === 'FENCED' && this.superseded) {
      this.cluster.world.count('fenced');
      return this.die();
    }
    if (error.code === 'FENCED' && this.cluster.successorOpens(this)) return;
    if (error.code === 'FENCED' && this.cluster.holder === REBUILT_HOLDER) {
      // The MDS that had given this session is gone, and no OST had heard of it when the new one was made.
      this.cluster.world.count('fencedByRebuild');
      return this.restartGateway();
    }
    if (error.code === 'FENCED' && this.cluster.endFormer()) {
      // By a takeover begun before this one that was still at it: whoever started this one insists.
      this.cluster.world.count('fencedByFormer');
      this.takesOver = true;
      this.hasOpened = false;
      return this.restartGateway();
    }
    const { holder } = this.cluster;
    if (error.code === 'FENCED' && (holder === TOOL || holder === KEEPER)) {
      // Neither the MDS nor an OST had heard of it for so long that whoever wanted a change, or to repair it, opened the volume.
      this.cluster.world.count(holder === TOOL ? 'fencedByTool' : 'fencedByKeeper');
      return this.restartGateway();
    }
    this.cluster.world.fail(`${this.name} was ended by ${error.code}: ${error.message} ${error.cause ?? ''}`);
  }

  /** As much as it has under way at a time, now. */
  burst(): void {
    const { cluster, outstanding } = this;
    if (this.stopping || !this.ready || cluster.quietUntilMs > cluster.world.nowMs) return;
    while (outstanding.size < DEPTH && cluster.takeStep()) this.issue();
  }

  protected load(): void {
    if (this.stopping || this.opening) return;
    const { process, cluster } = this;
    this.burst();
    const quietMs = cluster.quietUntilMs - cluster.world.nowMs;
    if (cluster.loadOver) return;
    process.later(Math.max(quietMs, this.thinkMs()), '', () => {
      if (process === this.process && this.alive) this.load();
    });
  }

  /** Bursts, pauses in which sessions idle, and now and then one that is long enough for a seal. */
  private thinkMs(): number {
    const { world } = this.cluster;
    const kind = world.random.next();
    if (kind < 0.01) return world.between(1000, 9000);
    return kind < 0.1 ? world.between(3, 1200) : world.between(0.05, 3);
  }

  private issue(): void {
    const { cluster } = this;
    const { world, load } = cluster;
    const request = new GuestRequest(this);
    const kind = world.random.next();
    const block = cluster.pickBlock(kind < 0.2);
    const onlyReads = world.nowMs < cluster.onlyReadsUntilMs;
    if (kind < load.flushes && !onlyReads) {
      request.asFlush(cluster);
    } else if (onlyReads || kind < 0.45 || (this.busyBlocks.has(block) && world.chance(0.7))) {
      request.asRead(cluster, block);
    } else {
      this.busyBlocks.set(block, (this.busyBlocks.get(block) ?? 0) + 1);
      const zeroes = kind > 0.97 ? BlockOp.WRITE_ZEROES : BlockOp.DISCARD;
      request.asWrite(cluster, block, kind > 0.93 ? zeroes : BlockOp.WRITE);
    }
    this.outstanding.add(request);
    this.submit(request);
  }

  protected submit(request: GuestRequest): void {
    const { block } = request;
    request.attempt = this.attempt;
    request.submittedAtMs = this.cluster.world.nowMs;
    request.losses = this.cluster.osts.map(({ disk }) => disk.losses);
    const carries = block.op === BlockOp.READ || block.op === BlockOp.WRITE;
    // A request of an earlier gateway may still be named by its buffers: a new one gets its own.
    block.slices.clear();
    if (carries) block.slices.add(request.memory, 0, BLOCK_BYTES);
    this.send(block);
  }

  done(request: GuestRequest, attempt: number, error: RawstorError | null): void {
    const { cluster } = this;
    const { world, oracle } = cluster;
    if (!this.alive || attempt !== this.attempt || !this.outstanding.has(request)) return;
    const { block, write, read, flushed } = request;
    if (error !== null) {
      if (this.superseded || error.code === 'FENCED') return;
      if (error.code === 'LOSS' && flushed !== null) {
        this.lossUntoldMs = Number.POSITIVE_INFINITY;
        world.count('lossReported');
      } else if (error.code === 'NO_SPACE' && cluster.osts.some((node) => node.disk.timesFull > 0)) {
        world.count('noSpace');
      } else if (error.code === 'IO' && cluster.osts.some((node) => node.disk.failedSyncs > 0)) {
        // The only replica's sync failed: nobody has it durable, and the guest is told.
        world.count('ioErrors');
      } else if (error.code === 'INVALID' && cluster.snapshots?.mayBeOutside(request, this.volume)) {
        world.count('behindTheEnd');
      } else {
        world.fail(`${this.name}: operation ${block.op} failed with ${error.code}: ${error.message}`);
      }
    } else if (this.superseded) {
      world.fail(`${this.name} was answered (operation ${block.op}) after another had opened the volume`);
    }
    this.outstanding.delete(request);
    if (write !== null) {
      const others = this.busyBlocks.get(write.block)! - 1;
      if (others === 0) this.busyBlocks.delete(write.block);
      else this.busyBlocks.set(write.block, others);
      if (error !== null) oracle.forgotten(write);
      else {
        if (cluster.guest === this) {
          cluster.audit.checkStoredSets(this.volume!.object.members);
          cluster.audit.checkHeld(write.block, request.contents(), request.losses);
        }
        oracle.acknowledged(write, (block.flags & BlockFlag.FUA) !== 0, this.sentTags.get(block.offset)!);
      }
    } else if (read !== null && error === null) {
      oracle.readDone(read, request.memory.bytes, this.name);
    } else if (flushed !== null && error === null) {
      if (request.submittedAtMs > this.lossUntoldMs)
        world.fail(`${this.name}: a flush after a loss succeeded`);
      oracle.flushDone(flushed);
    }
  }
}
