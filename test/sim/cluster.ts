import { createVolume } from '../../src/client/create.js';
import type { Volume } from '../../src/client/index.js';
import { asRawstorError } from '../../src/common/errors.js';
import { MiB } from '../../src/common/units.js';
import { type ObjectInfo, type ObjectRecord, pendingOf } from '../../src/protocol/index.js';
import { Audit } from './audit.js';
import { Clones } from './clones.js';
import { CutAudit } from './cut-audit.js';
import { CutFaults } from './cut-faults.js';
import { Guest } from './guest.js';
import { Keeper } from './keeper.js';
import type { HistoryKind } from './kind.js';
import { type Load, newLoad } from './load.js';
import { MdsLink, MdsNode } from './mds-node.js';
import { Moves } from './moves.js';
import { MovingGuest } from './moving-guest.js';
import { Network } from './network.js';
import { Next } from './next.js';
import { OlderCopies } from './older-copies.js';
import { BLOCK_BYTES, Oracle } from './oracle.js';
import { OstNode } from './ost-node.js';
import { connectOst } from './peer.js';
import { SimProcess } from './process.js';
import type { Rot } from './rot.js';
import { Snapshots } from './snapshots.js';
import { Violation, type World } from './world.js';

export const CHUNK_BYTES = MiB;
const BLOCKS_PER_CHUNK = 2;
const FAULTS_MIN = 5;
const HEARTBEAT_MS = 2000;
const COLLECT_MS = 5000;
const NO_BYTES = Buffer.alloc(BLOCK_BYTES);

export interface ClusterPlan extends HistoryKind {
  readonly osts: number;
  readonly replicas: number;
  readonly minReplicas: number;
  readonly chunks: number;
  readonly stripeWidth: number | 'all';
  readonly steps: number;
}

/** The simulated cluster with its one volume, and the guests that come and go on it. */
export class Cluster {
  readonly world: World;
  readonly plan: ClusterPlan;
  readonly network: Network;
  readonly nodes = new Map<string, OstNode>();
  readonly mds: MdsNode;
  readonly oracle: Oracle;
  readonly blockCount: number;
  guest: Guest | null = null;
  readonly next = new Next();
  readonly load: Load;
  /** Guests issue nothing until then. */
  quietUntilMs = 0;
  /** Guests neither write nor flush until then. */
  onlyReadsUntilMs = 0;
  readonly former: Guest[] = [];
  object: ObjectInfo | null = null;
  moves: Moves | null = null;
  rot: Rot | null = null;
  private stepsLeft: number;
  faults = 0;
  /** The chunk that is written to now, and the next one. */
  private warm = 0;
  private guests = 0;
  readonly audit: Audit;
  readonly cutAudit: CutAudit | null;
  readonly snapshots: Snapshots | null;
  readonly clones: Clones | null;
  readonly keeper: Keeper | null;
  readonly olderCopies: OlderCopies | null;
  /** A loss is on record that its writer does not know of yet. */
  private lossPending = false;
  private openedEpoch = 0;
  /** From here to the end no fault is begun, so that nothing hides what waits for ever. */
  undisturbed = false;
  /** The end of a history: no fault begins any more. */
  calm = false;

  constructor(world: World, plan: ClusterPlan) {
    this.world = world;
    this.plan = plan;
    this.stepsLeft = plan.steps;
    this.network = new Network(world);
    this.audit = new Audit(this);
    this.snapshots = plan.snapshots ? new Snapshots(this) : null;
    this.clones = plan.snapshots ? new Clones(this) : null;
    this.keeper = plan.snapshots ? new Keeper(this) : null;
    this.cutAudit = plan.snapshots ? new CutAudit(this) : null;
    const cutFaults = plan.snapshots ? new CutFaults(this) : null;
    this.mds = new MdsNode(world, (before, after) => {
      this.olderCopies?.committed(before, after);
      if (after.object.id === this.object?.id) {
        this.audit.committed(before, after);
        this.cutAudit?.committed(before, after);
        cutFaults?.committed(before, after);
        this.keeper?.committed(before, after);
      } else this.clones?.committed(before, after);
    });
    this.blockCount = plan.chunks * BLOCKS_PER_CHUNK;
    this.load = newLoad(world);
    this.oracle = new Oracle(world, this.blockCount);
    this.network.isUp = (name) => this.osts.some((node) => node.name === name && node.serving);
    for (let i = 0; i < plan.osts; i++) new OstNode(world, this.network, this.nodes, i);
    this.olderCopies = plan.olderCopies && plan.replicas > 1 ? new OlderCopies(this) : null;
  }

  readonly offsetOf = (block: number): number =>
    Math.floor(block / BLOCKS_PER_CHUNK) * CHUNK_BYTES + (block % BLOCKS_PER_CHUNK) * BLOCK_BYTES * 5;

  /** Whether all of the block is within a size. */
  isIn(block: number, sizeBytes: number): boolean {
    return this.offsetOf(block) + BLOCK_BYTES <= sizeBytes;
  }

  blocksIn(sizeBytes: number): number[] {
    return Array.from({ length: this.blockCount }, (_, i) => i).filter((block) =>
      this.isIn(block, sizeBytes),
    );
  }

  get osts(): OstNode[] {
    return [...this.nodes.values()];
  }

  start(): void {
    const { world, mds, plan } = this;
    mds.start();
    for (const node of this.osts) {
      node.onCalled = (method) => this.called(method, node);
      node.onData = (what) => this.next.tell(what, node);
      node.start();
    }
    world.run(() => mds.mds !== null && this.osts.every((node) => node.serving), 10_000, 'start');
    const admin = new SimProcess(world, 'admin');
    const link = new MdsLink(world, this.network, admin, mds);
    this.beat(admin, link);
    let made: ObjectInfo | null = null;
    const create = async () => {
      for (const node of this.osts) await link.call('mds.registerOst', node.info());
      const connector = {
        connect: (ostId: string) => connectOst(world, this.network, admin, this.nodes, ostId),
      };
      const created = await createVolume(link, connector, {
        name: 'v',
        sizeBytes: plan.chunks * CHUNK_BYTES,
        chunkSizeBytes: CHUNK_BYTES,
        replicas: plan.replicas,
        minReplicas: plan.minReplicas,
        stripeWidth: plan.stripeWidth,
        failureDomain: 'host',
        near: null,
        onDegraded: 'pause',
      });
      made = created.volume;
    };
    create().catch((error) => world.fail(`create: ${error}`));
    world.run(() => made !== null, 10_000, 'create');
    this.object = made;
    this.moves = new Moves(this, link);
  }

  /** OSTs tell the MDS that they live; one process does it for all. */
  private beat(admin: SimProcess, link: MdsLink): void {
    admin.clock.every(HEARTBEAT_MS, () => {
      for (const node of this.osts) {
        if (node.serving) node.register(link).catch(() => {});
      }
    });
    if (!this.plan.snapshots) return;
    admin.clock.every(COLLECT_MS, () => {
      for (const node of this.osts) {
        if (node.serving) node.collect(link).catch((error) => this.collectFailed(error));
      }
    });
  }

  /** Whoever is away is asked again. */
  private collectFailed(error: unknown): void {
    const { code, stack } = asRawstorError(error);
    this.world.count(`collect ${code}`);
    if (code === 'INTERNAL' || code === 'INVALID') this.world.fail(`the collector: ${stack}`);
  }

  newGuest(takesOver: boolean): Guest {
    const number = this.guests++;
    const Kind = this.plan.handOvers ? MovingGuest : Guest;
    const guest = new Kind(this, `host${number % 2}`, `guest${number}`, takesOver);
    this.guest = guest;
    return guest;
  }

  restartGateway(): void {
    if (this.guest?.alive) this.guest.restartGateway();
  }

  /** Another one takes the volume by force; the one before may live on, not knowing. */
  takeover(kill: boolean): void {
    const before = this.guest;
    this.world.count('takeovers');
    if (before !== null) {
      if (kill) before.die();
      else this.former.push(before);
    }
    this.newGuest(true).open();
  }

  opened(guest: Guest, { object: { epoch } }: Volume): void {
    // An open that was overtaken by a later one may end all the same; it is fenced as soon as it does something.
    if (epoch < this.openedEpoch) return guest.supersede();
    this.openedEpoch = epoch;
    this.next.tellOpened();
    for (const old of this.former) {
      // One that is still at its open may have the later session: its turn to be judged is when it has opened.
      if (old !== guest && old.alive && old.wasBefore(epoch)) old.supersede();
    }
    this.lossKnown();
  }

  /** Whether one that came later is at it: being fenced is then no fault. */
  successorOpens(guest: Guest): boolean {
    if (!this.former.includes(guest)) return false;
    guest.supersede();
    guest.die();
    return true;
  }

  /** Ends the guest of before whose session is on record; false when there is none. */
  endFormer(): boolean {
    const found = this.former.find((old) => old.holder === this.holder && old.alive);
    found?.die();
    return found !== undefined;
  }

  /** Whose session is on record. */
  get holder(): string {
    return this.mds.peek(this.object!.id).session.holder;
  }

  /** The guests have done their operations, and enough has gone wrong meanwhile. */
  get loadOver(): boolean {
    return this.stepsLeft <= 0 && (this.undisturbed || this.faults >= FAULTS_MIN);
  }

  /** Guests write here and there for a while, so that most regions are as they were at the last seal. */
  pickBlock(anywhere: boolean): number {
    const block = this.pickAny(anywhere);
    // What is cut off, or may be, is left alone.
    return this.snapshots === null || this.snapshots.isOpen(block) ? block : block % (this.blockCount / 2);
  }

  private pickAny(anywhere: boolean): number {
    const { random } = this.world;
    if (anywhere) return random.below(this.blockCount);
    if (this.world.chance(0.02)) this.warm = random.below(this.plan.chunks);
    const chunk = (this.warm + random.below(2)) % this.plan.chunks;
    return chunk * BLOCKS_PER_CHUNK + random.below(BLOCKS_PER_CHUNK);
  }

  /** From here on guests write where they have not lately. */
  moveOn(): void {
    const { chunks } = this.plan;
    this.warm = (this.warm + 2 + this.world.random.below(chunks - 3)) % chunks;
  }

  quiet(forMs: number): void {
    this.quietUntilMs = this.world.nowMs + forMs;
  }

  /** What was written last stays the last, and unflushed. */
  onlyReads(forMs: number): void {
    this.onlyReadsUntilMs = this.world.nowMs + forMs;
  }

  takeStep(): boolean {
    if (this.loadOver) return false;
    this.stepsLeft--;
    return true;
  }

  /** From here on what was not flushed may be gone. */
  lossRecorded(): void {
    if (this.osts.every((node) => node.disk.losses === 0)) this.world.fail('a loss without cause');
    this.world.count('losses');
    this.lossPending = true;
    this.oracle.lossRecorded();
  }

  /** Until a writer knows of it, it may read what is lost; from then on reads do not go back again. */
  lossKnown(): void {
    if (this.lossPending) this.oracle.lossRecorded();
    this.lossPending = false;
  }

  /** A later part of a fault. */
  later(delayMs: number, label: string, action: () => void): void {
    this.world.post(delayMs, null, label, () => {
      if (!this.calm) action();
    });
  }

  /** A call of an OST arrives. */
  called(method: string, node: OstNode): void {
    if (method === 'ost.regions') this.next.tell('list', node);
    if (method === 'ost.mark') this.next.tell('mark', node);
    if (method !== 'ost.copy') return;
    this.world.count('copies');
    this.next.tell('copy', node);
  }

  /** After the end: what is in sync is the same everywhere, and legal. */
  compareDisks(object: ObjectRecord, view: 'cached' | 'durable'): void {
    const first = new Map<number, Buffer>();
    this.eachReplica(object, view, (block, bytes, node) => {
      this.oracle.check(block, bytes, `${node.name} (${view})`);
      const other = first.get(block);
      if (other === undefined) first.set(block, bytes);
      else if (!other.equals(bytes)) {
        throw new Violation(`replicas differ in block ${block} (${view}): ${node.name} and another`);
      }
    });
  }

  /** Every block as every in-sync member that holds it has it. */
  eachReplica(
    object: ObjectRecord,
    view: 'cached' | 'durable',
    visit: (block: number, bytes: Buffer, node: OstNode) => void,
  ): void {
    const inSync = new Set<string>();
    for (const { ostId, state } of object.members) if (state === 'in-sync') inSync.add(ostId);
    for (let block = 0; block < this.blockCount; block++) {
      this.eachPlace(object, block, view, (bytes, node) => {
        if (inSync.has(node.ostId)) visit(block, bytes, node);
      });
    }
  }

  /** A block as each OST has it that it is placed on, in sync or not. */
  eachPlace(
    object: ObjectRecord,
    block: number,
    view: 'cached' | 'durable',
    visit: (bytes: Buffer, node: OstNode, index: number) => void,
  ): void {
    const offset = this.offsetOf(block);
    const chunk = Math.floor(offset / CHUNK_BYTES);
    const inChunk = (offset % CHUNK_BYTES) / BLOCK_BYTES;
    const placed = this.mds.placement(object, chunk);
    for (const [index, node] of this.osts.entries()) {
      if (!placed.includes(node.ostId)) continue;
      const of = (version: number) => {
        const file = node.disk.files.get(`${object.id}/${chunk}.${version}`);
        return file?.[view].get(inChunk);
      };
      // Until the cut of a snapshot what is below the head is written.
      const below = pendingOf(object)?.version;
      const bytes = of(object.headVersion) ?? (below === undefined ? undefined : of(below));
      visit(bytes ?? NO_BYTES, node, index);
    }
  }

  /** Whether a replica of the chunk is there. */
  holds(object: ObjectRecord, chunk: number, node: OstNode): boolean {
    return this.mds.placement(object, chunk).includes(node.ostId);
  }
}
