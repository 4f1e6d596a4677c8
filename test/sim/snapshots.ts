import { asRawstorError, type RawstorError } from '../../src/common/errors.js';
import { type Random, seededRandom } from '../../src/common/random.js';
import { heapMemory } from '../../src/io/memory.js';
import {
  ChunkOp,
  type ObjectRecord,
  Opcode,
  type OstPeer,
  type VersionChange,
} from '../../src/protocol/index.js';
import { askChanged, type Contents, checkChanged } from './changed.js';
import { CHUNK_BYTES, type Cluster } from './cluster.js';
import type { Guest } from './guest.js';
import { BLOCK_BYTES, type Cut } from './oracle.js';
import type { OstNode } from './ost-node.js';
import { connectOst } from './peer.js';
import { SimProcess } from './process.js';

const EVERY_MS = 4000;
const READ_LIMIT_MS = 300_000;

/** A session on an OST that reads one version. */
interface Reader {
  readonly peer: OstPeer;
  readonly handle: number;
  readonly version: number;
  readonly sessionEpoch: number;
}

/**
 * Snapshots of the guests' volume, taken and removed all along: each has to be an exact cut (I11), the same on all
 * replicas in the end, through every fault and resync in between.
 */
export class Snapshots {
  private readonly cluster: Cluster;
  /** Of its own, so that the same seed without snapshots is the history it always was. */
  private readonly random: Random;
  private readonly cuts = new Map<string, Cut>();
  private count = 0;

  constructor(cluster: Cluster) {
    this.cluster = cluster;
    this.random = seededRandom(cluster.world.seed ^ 0x534e41);
  }

  /** Takes or removes one now and then, until the load is over. */
  begin(): void {
    const { cluster } = this;
    cluster.later(1 + this.random.below(EVERY_MS), '', () => {
      const guests = [cluster.guest, ...cluster.former].filter(
        (guest) => guest?.alive && guest.volume !== null,
      );
      const guest = guests[this.random.below(4) === 0 ? this.random.below(guests.length) : 0];
      if (guest !== undefined && guest !== null) {
        this.act(guest);
        if (cluster.plan.asksChanged) void askChanged(cluster, guest, this.cuts);
      }
      this.begin();
    });
  }

  private act(guest: Guest): void {
    const named = guest.volume!.object.snapshots.filter((one) => one.name !== null);
    const old = named[this.random.below(Math.max(1, named.length))];
    if (old !== undefined && (named.length > 5 || this.random.below(3) === 0)) {
      return this.change(guest, { kind: 'remove', version: old.version }, () => {});
    }
    const name = `s${this.count++}`;
    const { oracle } = this.cluster;
    const cut = oracle.beginCut();
    this.cuts.set(name, cut);
    this.change(guest, { kind: 'snapshot', name }, () => oracle.endCut(cut));
  }

  private change(guest: Guest, change: VersionChange, done: () => void): void {
    const { world } = this.cluster;
    const { volume } = guest;
    volume!.change(change).then(
      () => {
        world.count(change.kind);
        done();
      },
      (error) => {
        const { code } = asRawstorError(error) as RawstorError;
        world.count(`${change.kind} ${code}`);
        if (code === 'INTERNAL' || code === 'INVALID') world.fail(`${change.kind}: ${error.stack}`);
      },
    );
  }

  /** After the end, everything in sync: what OSTs give of each version is the same, and legal. */
  verify(object: ObjectRecord): void {
    const { world } = this.cluster;
    let done = false;
    this.verifyAll(object).then(
      () => {
        done = true;
      },
      (error) => world.fail(`reading versions: ${error}`),
    );
    world.run(() => done, READ_LIMIT_MS, 'reading every version');
  }

  private async verifyAll(object: ObjectRecord): Promise<void> {
    const { cluster } = this;
    const { world, oracle } = cluster;
    const process = new SimProcess(world, 'checker');
    const session = cluster.mds.peek(object.id).session.epoch;
    const versions = [
      ...object.snapshots.filter((one) => one.name !== null),
      { version: object.headVersion, name: '' },
    ];
    const contents = new Map<OstNode, Contents>(cluster.osts.map((node) => [node, new Map()]));
    for (const { version, name } of versions) {
      world.count('versionsRead');
      const first = new Map<number, Buffer>();
      for (const node of cluster.osts) {
        if (!object.members.some(({ ostId }) => ostId === node.ostId)) continue;
        const peer = await connectOst(world, cluster.network, process, cluster.nodes, node.ostId);
        const reader = await this.attach(peer, object.id, version, name === '' ? session : null);
        const blocks: Buffer[] = [];
        contents.get(node)!.set(version, blocks);
        for (let block = 0; block < cluster.blockCount; block++) {
          if (!cluster.holds(object, Math.floor(cluster.offsetOf(block) / CHUNK_BYTES), node)) continue;
          const bytes = await this.read(reader, block, node);
          blocks[block] = bytes;
          const where = `${node.name} (${name === '' ? 'head' : name})`;
          if (name === '') oracle.check(block, bytes, where);
          else oracle.checkCut(this.cuts.get(name!)!, block, bytes, where);
          const other = first.get(block);
          if (other === undefined) first.set(block, bytes);
          else if (!other.equals(bytes)) world.fail(`${where} differs from another in block ${block}`);
        }
        // Snapshots are listed before what lies over them.
        await checkChanged(cluster, object, reader, contents.get(node)!, node);
        peer.destroy();
      }
    }
  }

  private async attach(
    peer: OstPeer,
    objectId: string,
    version: number,
    session: number | null,
  ): Promise<Reader> {
    const { handle } =
      session === null
        ? await peer.call('ost.attachSnapshot', { objectId, version })
        : await peer.call('ost.attachReader', { objectId, sessionEpoch: session });
    return { peer, handle, version, sessionEpoch: session ?? 0 };
  }

  private read(reader: Reader, block: number, node: OstNode): Promise<Buffer> {
    const { peer, handle, version, sessionEpoch } = reader;
    const offset = this.cluster.offsetOf(block);
    const memory = heapMemory(BLOCK_BYTES);
    return new Promise((resolve, reject) => {
      const op = new ChunkOp({
        chunkDone: () => {
          if (op.status === 0) resolve(Buffer.from(memory.bytes.subarray(0, BLOCK_BYTES)));
          else reject(new Error(`status ${op.status} of ${node.name} for block ${block}`));
        },
      });
      const chunk = Math.floor(offset / CHUNK_BYTES);
      const place = { chunk, chunkVersion: version, offset: offset % CHUNK_BYTES, length: BLOCK_BYTES };
      Object.assign(op, { opcode: Opcode.READ, handle, sessionEpoch, ...place });
      op.slices.add(memory, 0, BLOCK_BYTES);
      peer.submit(op);
    });
  }
}
