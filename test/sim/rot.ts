import { seededRandom } from '../../src/common/random.js';
import type { ObjectRecord } from '../../src/protocol/index.js';
import { CHUNK_BYTES, type Cluster } from './cluster.js';
import { BLOCK } from './disk.js';
import { BLOCK_BYTES } from './oracle.js';
import type { OstNode } from './ost-node.js';

const SUM_BLOCK_BYTES = 4096;
/** Of a seal, and of the checksums that are taken after it. */
export const SUMS_TAKEN_MS = 12_000;
/** Connections to a machine without power are given up for silence. */
const RESYNC_BEGINS_MS = 5000;

const SCRUB_BYTES_PER_SEC = 2 ** 26;

interface Rotten {
  readonly block: number;
  readonly node: OstNode;
  readonly path: string;
  readonly was: Buffer;
  /** Its disk cannot read it. */
  readonly unreadable: boolean;
}

/**
 * Blocks that a disk cannot read any more (`readEio`), and others that change on it by themselves: a bit flips, the content of the block beside was written there, or what was
 * written never got there, so that something older, or nothing, still is. Those only where the OST has a checksum, and all only where another replica has the right content: what is read
 * then has to be right all the same, and in the end every replica.
 */
export class Rot {
  /** Power is lost in the midst of repairs, on the one OST that needs them then: what others lack could come from nobody. */
  readonly interrupted: boolean;
  /** It has been, or will not be. */
  undisturbed = false;
  /** What goes wrong: sectors that cannot be read, or others than were written. */
  private readonly readEio: boolean;
  private readonly cluster: Cluster;
  private readonly rotten: Rotten[] = [];

  constructor(cluster: Cluster) {
    this.cluster = cluster;
    this.interrupted = cluster.world.chance(0.5);
    this.readEio = seededRandom(cluster.world.seed ^ 0xe10).next() < 0.4;
  }

  /** Whether this history has some. Decided apart: all else is the same with it. */
  static isIn({ world, plan }: Cluster): boolean {
    return plan.replicas > 1 && seededRandom(world.seed ^ 0xb17).next() < 0.25;
  }

  /** Of some blocks one replica each; all are in sync and at rest. */
  begin(object: ObjectRecord): void {
    const { cluster } = this;
    const { world } = cluster;
    for (let block = 0; block < cluster.blockCount; block++) {
      if (!world.chance(0.4)) continue;
      const places: OstNode[] = [];
      cluster.eachPlace(object, block, 'durable', (_bytes, node) => places.push(node));
      const node = places[world.random.below(places.length)]!;
      if (this.interrupted && !this.staysKnown(block, node)) continue;
      if (this.readEio || this.isProtected(object, block, node)) this.spoil(object, block, node);
    }
  }

  /** To be called when all has been read: repairs begin 50 ms after the first damage was found. */
  interrupt(): void {
    const { world } = this.cluster;
    const node = this.rotten[0]?.node;
    this.undisturbed = !this.interrupted || node === undefined;
    if (this.undisturbed) return;
    world.post(world.between(45, 100), null, 'power in the midst of repairs', () => {
      world.count('repairsInterrupted');
      node!.powerLoss();
      node!.start();
      world.post(RESYNC_BEGINS_MS, null, '', () => {
        this.undisturbed = true;
      });
    });
  }

  /** Somebody has every OST looked through: what nobody reads is found as well. */
  scrub(): void {
    for (const { core } of this.cluster.osts) {
      // One that runs already will do.
      core!.integrity!.scrubs.begin(null, SCRUB_BYTES_PER_SEC, { gone: false }).catch(() => {});
    }
  }

  /** Every replica is what it was again. */
  get repaired(): boolean {
    return this.rotten.every(({ block, node, path, was }) => {
      const file = node.disk.files.get(path)!;
      if (!file.canRead(this.inFile(block) * BLOCK, BLOCK)) return false;
      const now = file.cached.get(this.inFile(block));
      return now?.equals(was) ?? was.every((byte) => byte === 0);
    });
  }

  /** What it has on its disk is not what was written there. */
  isRotten(block: number, node: OstNode): boolean {
    const found = this.rotten.find((one) => one.block === block && one.node === node);
    if (found === undefined) return false;
    const file = node.disk.files.get(found.path);
    if (file?.unreadable.has(this.inFile(block))) return true;
    return file?.durable.get(this.inFile(block))?.equals(found.was) !== true;
  }

  private spoil(object: ObjectRecord, block: number, node: OstNode): void {
    const { world } = this.cluster;
    const path = `${object.id}/${this.chunkOf(block)}.${object.headVersion}`;
    const file = node.disk.files.get(path);
    const at = this.inFile(block);
    const was = file?.cached.get(at);
    if (file === undefined || was === undefined) return; // a hole
    if (this.readEio) {
      file.unreadable.add(at);
      return this.noted({ block, node, path, was, unreadable: true }, 'readEio');
    }
    const content = Buffer.from(was);
    const kind = world.random.below(4);
    if (kind === 0) content[world.random.below(BLOCK)]! ^= 1 << world.random.below(8);
    else if (kind === 1) file.cached.get(this.inFile(block ^ 1))?.copy(content);
    else if (kind === 2) content.writeUInt32LE(Math.max(0, content.readUInt32LE(0) - 1), 0);
    else content.fill(0);
    if (content.equals(was)) return;
    file.cached.set(at, content);
    file.durable.set(at, Buffer.from(content));
    this.noted({ block, node, path, was, unreadable: false }, `rot ${kind}`);
  }

  private noted(rotten: Rotten, what: string): void {
    const { world } = this.cluster;
    const { node, block } = rotten;
    this.rotten.push(rotten);
    node.rotten++;
    world.count(rotten.unreadable ? 'readEio' : 'rot');
    world.trace(`${node.name}: block ${block} has gone bad by itself (${what})`);
  }

  private isProtected(object: ObjectRecord, block: number, { core }: OstNode): boolean {
    const known = core!.objects.get(object.id);
    if (known === undefined) return false;
    const chunk = core!.chunks.chunk(known, this.chunkOf(block), object.headVersion);
    const inChunk = this.cluster.offsetOf(block) % CHUNK_BYTES;
    const { sums } = core!.checksums!.page(chunk, 0);
    if (this.interrupted && !sums!.trustedOnDisk(0)) return false;
    return core!.checksums!.expected(chunk, Math.floor(inChunk / SUM_BLOCK_BYTES)) >= 0;
  }

  /**
   * After a power loss too. That a region's other blocks were not changed is remembered by the process alone: another
   * one in the region of a repair would be summed anew as it is.
   */
  private staysKnown(block: number, node: OstNode): boolean {
    return this.rotten.every((one) => one.node === node && this.chunkOf(one.block) !== this.chunkOf(block));
  }

  private readonly chunkOf = (block: number) => Math.floor(this.cluster.offsetOf(block) / CHUNK_BYTES);

  private readonly inFile = (block: number) => (this.cluster.offsetOf(block) % CHUNK_BYTES) / BLOCK_BYTES;
}
