import { asRawstorError } from '../../src/common/errors.js';
import { heapMemory } from '../../src/io/memory.js';
import { ChunkOp, type ObjectRecord, Opcode, type OstPeer } from '../../src/protocol/index.js';
import { type Contents, checkChanged } from './changed.js';
import { CHUNK_BYTES, type Cluster } from './cluster.js';
import { BLOCK_BYTES, type Cut, type Oracle } from './oracle.js';
import type { OstNode } from './ost-node.js';
import { connectOst } from './peer.js';
import { SimProcess } from './process.js';

/** A session on an OST that reads one version. */
interface Reader {
  readonly peer: OstPeer;
  readonly handle: number;
  readonly version: number;
  readonly sessionEpoch: number;
}

/** A volume whose versions are to be right. */
export interface Versioned {
  readonly object: ObjectRecord;
  readonly oracle: Oracle;
  /** By the name of the snapshot. */
  readonly cuts: ReadonlyMap<string, Cut>;
}

/** Reads every version of a volume on every OST that holds it: all give the same, and what is legal. */
export class VersionReader {
  private readonly cluster: Cluster;
  private readonly process: SimProcess;

  constructor(cluster: Cluster) {
    this.cluster = cluster;
    this.process = new SimProcess(cluster.world, 'checker');
  }

  async check({ object, oracle, cuts }: Versioned): Promise<void> {
    const { cluster } = this;
    const { world } = cluster;
    const session = cluster.mds.peek(object.id).session.epoch;
    const { headVersion, sizeBytes } = object;
    const versions = [
      ...object.snapshots.filter((one) => one.name !== null),
      { version: headVersion, name: '', sizeBytes },
    ];
    const contents = new Map<OstNode, Contents>(cluster.osts.map((node) => [node, new Map()]));
    for (const { version, name, sizeBytes: endBytes } of versions) {
      world.count('versionsRead');
      const first = new Map<number, Buffer>();
      for (const node of cluster.osts) {
        if (!object.members.some(({ ostId }) => ostId === node.ostId)) continue;
        const peer = await connectOst(world, cluster.network, this.process, cluster.nodes, node.ostId);
        const reader = await this.attach(peer, object.id, version, name === '' ? session : null);
        const blocks: Buffer[] = [];
        contents.get(node)!.set(version, blocks);
        for (const block of cluster.blocksIn(endBytes)) {
          if (!cluster.holds(object, Math.floor(cluster.offsetOf(block) / CHUNK_BYTES), node)) continue;
          const bytes = await this.read(reader, block, node);
          blocks[block] = bytes;
          const where = `${node.name} (${object.name}${name === '' ? '' : `@${name}`})`;
          if (name === '') oracle.check(block, bytes, where);
          else oracle.checkCut(cuts.get(name!)!, block, bytes, where);
          const other = first.get(block);
          if (other === undefined) first.set(block, bytes);
          else if (!other.equals(bytes)) world.fail(`${where} differs from another in block ${block}`);
        }
        // Snapshots are listed before what lies over them.
        await checkChanged(cluster, object, { ...reader, sizeBytes: endBytes }, contents.get(node)!, node);
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
        ? await this.attachSnapshot(peer, objectId, version)
        : await peer.call('ost.attachReader', { objectId, sessionEpoch: session });
    return { peer, handle, version, sessionEpoch: session ?? 0 };
  }

  /** The MDS answers who wants one before the writer has told the OSTs, which are asked again, as readers do. */
  private async attachSnapshot(
    peer: OstPeer,
    objectId: string,
    version: number,
  ): Promise<{ handle: number }> {
    for (let left = 20; ; left--) {
      try {
        return await peer.call('ost.attachSnapshot', { objectId, version });
      } catch (error) {
        if (asRawstorError(error).code !== 'NOT_FOUND' || left === 0) throw error;
        await this.process.clock.sleep(100);
      }
    }
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
