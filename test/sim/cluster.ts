import { MiB } from '../../src/common/units.js';
import type { ObjectInfo, ObjectRecord } from '../../src/protocol/index.js';
import { Guest } from './guest.js';
import { MdsLink, MdsNode } from './mds-node.js';
import { Network } from './network.js';
import { BLOCK_BYTES, Oracle } from './oracle.js';
import { OstNode } from './ost-node.js';
import { SimProcess } from './process.js';
import { Violation, type World } from './world.js';

const CHUNK_BYTES = MiB;
const BLOCKS_PER_CHUNK = 3;
const HEARTBEAT_MS = 2000;

export interface ClusterPlan {
  readonly osts: number;
  readonly replicas: number;
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
  readonly former: Guest[] = [];
  object: ObjectInfo | null = null;
  stepsLeft: number;
  private guests = 0;
  private lossesSeen = 0;

  constructor(world: World, plan: ClusterPlan) {
    this.world = world;
    this.plan = plan;
    this.stepsLeft = plan.steps;
    this.network = new Network(world);
    this.mds = new MdsNode(world);
    this.blockCount = plan.chunks * BLOCKS_PER_CHUNK;
    this.oracle = new Oracle(world, this.blockCount);
    for (let i = 0; i < plan.osts; i++) new OstNode(world, this.network, this.nodes, i);
  }

  readonly offsetOf = (block: number): number =>
    Math.floor(block / BLOCKS_PER_CHUNK) * CHUNK_BYTES + (block % BLOCKS_PER_CHUNK) * BLOCK_BYTES * 5;

  get osts(): OstNode[] {
    return [...this.nodes.values()];
  }

  start(): void {
    const { world, mds, plan } = this;
    mds.start();
    for (const node of this.osts) node.start();
    world.run(() => mds.mds !== null && this.osts.every((node) => node.serving), 10_000, 'start');
    const admin = new SimProcess(world, 'admin');
    const link = new MdsLink(world, this.network, admin, mds);
    this.beat(admin, link);
    let made: ObjectInfo | null = null;
    const create = async () => {
      for (const node of this.osts) await link.call('mds.registerOst', node.info());
      made = await link.call('mds.createObject', {
        name: 'v',
        sizeBytes: plan.chunks * CHUNK_BYTES,
        chunkSizeBytes: CHUNK_BYTES,
        replicas: plan.replicas,
        minReplicas: 1,
        stripeWidth: plan.stripeWidth,
        failureDomain: 'host',
        near: null,
        onDegraded: 'pause',
      });
    };
    create().catch((error) => world.fail(`create: ${error}`));
    world.run(() => made !== null, 10_000, 'create');
    this.object = made;
  }

  /** OSTs tell the MDS that they live; one process does it for all. */
  private beat(admin: SimProcess, link: MdsLink): void {
    admin.clock.every(HEARTBEAT_MS, () => {
      for (const node of this.osts) {
        if (node.serving) link.call('mds.registerOst', node.info()).catch(() => {});
      }
    });
  }

  newGuest(takesOver: boolean): Guest {
    const number = this.guests++;
    const guest = new Guest(this, `host${number % 2}`, `guest${number}`, takesOver);
    this.guest = guest;
    return guest;
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

  opened(guest: Guest, _loss: boolean): void {
    for (const old of this.former) if (old !== guest) old.superseded = true;
    this.noticeLoss();
  }

  /** Whether one that came later is at it: being fenced is then no fault. */
  successorOpens(guest: Guest): boolean {
    if (!this.former.includes(guest)) return false;
    guest.superseded = true;
    guest.die();
    return true;
  }

  /** Whose session is on record. */
  get holder(): string {
    return this.mds.peek(this.object!.id).session.holder;
  }

  takeStep(): boolean {
    if (this.stepsLeft <= 0) return false;
    this.stepsLeft--;
    return true;
  }

  lossReported(): void {
    this.noticeLoss();
  }

  /** The record at the MDS is what counts: a loss is legal from the moment it is there. */
  noticeLoss(): void {
    if (this.mds.lossesAsked === this.lossesSeen) return;
    this.lossesSeen = this.mds.lossesAsked;
    if (this.osts.every((node) => node.disk.losses === 0)) this.world.fail('a loss without cause');
    this.world.count('losses');
    this.oracle.lossRecorded();
  }

  /** After the end: what is in sync is the same everywhere, and legal. */
  compareDisks(object: ObjectRecord, view: 'cached' | 'durable'): void {
    const members = object.members.filter((member) => member.state === 'in-sync');
    for (let block = 0; block < this.blockCount; block++) {
      const offset = this.offsetOf(block);
      const chunk = Math.floor(offset / CHUNK_BYTES);
      const inChunk = (offset % CHUNK_BYTES) / BLOCK_BYTES;
      const holders = members.map((member) => this.nodes.get(member.ostId)!);
      let first: Buffer | null = null;
      for (const node of holders) {
        const file = node.disk.files.get(`${object.id}/${chunk}.${object.headVersion}`);
        if (this.plan.stripeWidth === 'all' && !this.holds(object, chunk, node)) continue;
        const bytes = file?.[view].get(inChunk) ?? Buffer.alloc(BLOCK_BYTES);
        this.oracle.check(block, bytes, `${node.name} (${view})`);
        if (first !== null && !first.equals(bytes)) {
          throw new Violation(`replicas differ in block ${block} (${view}): ${node.name} and another`);
        }
        first = bytes;
      }
    }
  }

  private holds(object: ObjectRecord, chunk: number, node: OstNode): boolean {
    return this.mds.placement(object, chunk).includes(node.ostId);
  }
}
