import { parseId } from '../../src/common/ids.js';
import { LIMITS } from '../../src/common/limits.js';
import { isRebuilt } from '../../src/mds/in-sync-sets.js';
import type { StoredObject } from '../../src/mds/stored-object.js';
import { hasBit, LAYER_BLOCK_BYTES, zeroBitsKey } from '../../src/ost/layers/zero-bits.js';
import { type ObjectRecord, type Params, pendingOf, type Snapshot } from '../../src/protocol/index.js';
import { CHUNK_BYTES, type Cluster } from './cluster.js';
import { BLOCK } from './disk.js';
import { BLOCK_BYTES } from './oracle.js';
import type { OstNode } from './ost-node.js';

const UNIT_BLOCKS = LAYER_BLOCK_BYTES / BLOCK;
const ZEROS = Buffer.alloc(BLOCK_BYTES);

/** What a version that is being frozen has to have. */
interface Frozen {
  readonly floors: readonly Int32Array[];
  readonly losses: number;
}

/**
 * The moment in which a version gets its name: from then on it is frozen (I11). Every replica in sync has the same of it then, and
 * has it on disk, all that was acknowledged with a tag from before the cut included. Read out of files and records, for by
 * the time that somebody reads the snapshot what was still on its way may have arrived.
 */
export class CutAudit {
  private readonly cluster: Cluster;
  /** By version. */
  private readonly frozen = new Map<number, Frozen>();
  /** Of the record that is ahead of a cut: what carries a later tag may be behind that. */
  private aheadEpoch = 0;

  constructor(cluster: Cluster) {
    this.cluster = cluster;
  }

  /** The guests' gateway, or a tool, asks for a change. */
  asked({ id, change }: Params<'mds.changeVersions'>): void {
    const { object, oracle } = this.cluster;
    if (id !== object!.id || change.kind !== 'sealed' || this.frozen.has(change.version)) return;
    this.frozen.set(change.version, { floors: oracle.taggedUpTo(this.aheadEpoch), losses: oracle.losses });
  }

  /** The record of the guests' volume has changed. */
  committed(before: StoredObject, after: StoredObject): void {
    // What a rebuild brings back was frozen before.
    if (isRebuilt(before) || isRebuilt(after)) return;
    if (after.session.epoch > before.session.epoch && pendingOf(after.object) !== null) {
      this.cluster.world.fail('a snapshot that was never taken is pending in the next session');
    }
    if (pendingOf(before.object) === null && pendingOf(after.object) !== null) {
      this.aheadEpoch = after.object.epoch;
    }
    const known = new Set(before.object.snapshots.map(({ name }) => name));
    for (const one of after.object.snapshots) {
      if (one.name !== null && !known.has(one.name)) this.look(after.object, one);
    }
  }

  private look(object: ObjectRecord, { version, name, sizeBytes }: Snapshot): void {
    const { cluster } = this;
    const { world, oracle } = cluster;
    const cut = cluster.snapshots!.cuts.get(name!);
    if (cut === undefined) return;
    const frozen = this.frozen.get(version);
    const floors = frozen?.losses === oracle.losses ? frozen.floors : cut.floors;
    world.count('cutsLookedAt');
    const members = new Set(
      object.members.filter(({ state }) => state === 'in-sync').map(({ ostId }) => ostId),
    );
    for (const block of cluster.blocksIn(sizeBytes)) {
      const chunk = Math.floor(cluster.offsetOf(block) / CHUNK_BYTES);
      let first: Buffer | null = null;
      for (const node of cluster.osts) {
        if (!members.has(node.ostId) || !cluster.holds(object, chunk, node)) continue;
        const where = `${node.name} (${object.name}@${name}, as it was frozen)`;
        oracle.checkFrozen(
          { ...cut, floors: [...floors] },
          block,
          shown(cluster, node, object, version, block, 'durable'),
          where,
        );
        const bytes = shown(cluster, node, object, version, block, 'cached');
        if (first !== null && !first.equals(bytes)) {
          world.fail(`${where} differs from another in block ${block}`);
        }
        first = bytes;
      }
    }
  }
}

/** A block as a version shows it: of the nearest version that has it, as data or as zeros on record. */
function shown(
  cluster: Cluster,
  node: OstNode,
  object: ObjectRecord,
  version: number,
  block: number,
  view: 'cached' | 'durable',
): Buffer {
  const offset = cluster.offsetOf(block);
  const chunk = Math.floor(offset / CHUNK_BYTES);
  const inChunk = offset % CHUNK_BYTES;
  const unit = Math.floor(inChunk / LAYER_BLOCK_BYTES);
  const region = Math.floor(inChunk / LIMITS.regionSizeBytes);
  const bit = unit - (region * LIMITS.regionSizeBytes) / LAYER_BLOCK_BYTES;
  for (let at: number | null = version; at !== null && at !== 0; at = below(object, at)) {
    const content = node.disk.files.get(`${object.id}/${chunk}.${at}`)?.[view];
    for (let i = 0; i < UNIT_BLOCKS; i++) {
      if (content?.has(unit * UNIT_BLOCKS + i)) return content.get(inChunk / BLOCK_BYTES) ?? ZEROS;
    }
    const key = zeroBitsKey(parseId(object.id), chunk, at, region).toString('hex');
    const bits = node.disk.records.get(key);
    if (bits !== undefined && hasBit(bits, bit)) return ZEROS;
  }
  return ZEROS;
}

function below(object: ObjectRecord, version: number): number | null {
  return object.snapshots.find((one) => one.version === version)?.over ?? null;
}
