import { parseId } from '../../src/common/ids.js';
import type { StoredObject } from '../../src/mds/stored-object.js';
import { RecordType } from '../../src/ost/record-codec.js';
import { decodeBody, type StoredSet } from '../../src/protocol/index.js';
import type { Cluster } from './cluster.js';
import { pick, restartLater } from './faults.js';
import type { OstNode } from './ost-node.js';

/** Ends a history that has nothing more to say. */
export const OVER = 'what is left is an older copy, and that is told';

interface Copy {
  readonly node: OstNode;
  readonly restore: () => void;
  readonly setEpoch: number;
}

/**
 * Directories of OSTs are put back from copies of some time ago, all along. Power does not fail in such a history, and the MDS is not
 * lost: so nothing that was ever acknowledged may be gone, and no loss may be told. One is put back only where the MDS has on record that
 * more was kept there, which is what it is told by.
 */
export class OlderCopies {
  private readonly cluster: Cluster;
  private copy: Copy | null = null;
  /** Put back, and not dropped yet: what is recorded meanwhile may still count on it. */
  private readonly older = new Set<OstNode>();

  constructor(cluster: Cluster) {
    this.cluster = cluster;
    for (const node of cluster.nodes.values()) node.disk.steady = true;
  }

  begin(): void {
    const { world } = this.cluster;
    world.post(world.between(500, 6000), null, '', () => {
      if (this.cluster.calm) return;
      if (this.copy === null) this.take();
      else this.putBack(this.copy);
      this.begin();
    });
  }

  isOlder(node: OstNode): boolean {
    return this.older.has(node);
  }

  /** Nobody knows of it yet: another fault would leave nothing but it. */
  get pending(): boolean {
    return this.older.size > 0;
  }

  /** The record has changed. */
  committed(before: StoredObject, { object, lossWallMs }: StoredObject): void {
    if (this.pending && lossWallMs !== null && before.lossWallMs === null) {
      this.cluster.world.count('olderCopyLeft');
      this.cluster.world.fail(OVER);
    }
    for (const node of this.older) {
      const member = object.members.find(({ ostId }) => ostId === node.ostId);
      if (member?.state !== 'in-sync') this.older.delete(node);
    }
  }

  private take(): void {
    const { cluster } = this;
    const node = pick(cluster, cluster.osts);
    if (cluster.object === null || this.older.has(node)) return;
    node.kill();
    this.copy = { node, restore: node.disk.copy(), setEpoch: this.keptSet(node) };
    restartLater(cluster, node);
  }

  private putBack({ node, restore, setEpoch }: Copy): void {
    const { cluster } = this;
    const { world, mds } = cluster;
    const { object } = mds.peek(cluster.object!.id);
    const member = object.members.find(({ ostId }) => ostId === node.ostId);
    if (member === undefined) this.copy = null;
    // Its fence is older too: one that was fenced, and lives on, is served by it until the next has attached anew.
    if (cluster.former.some((old) => old.alive)) return;
    if ((member?.keptEpoch ?? 0) <= setEpoch || (member!.state === 'in-sync' && !this.canLose(node))) return;
    node.kill();
    restore();
    world.trace(`PUT BACK ${node.name}`);
    world.count(member!.state === 'in-sync' ? 'olderCopies' : 'olderStaleCopies');
    if (member!.state === 'in-sync') this.older.add(node);
    restartLater(cluster, node);
    this.copy = null;
  }

  /** Each chunk has somebody else in sync who holds all. */
  private canLose(node: OstNode): boolean {
    const { mds, plan, guest, object: created } = this.cluster;
    const { object } = mds.peek(created!.id);
    // A drop may be asked for that is not on record yet.
    const members = guest?.volume?.status().members ?? [];
    const readable = new Set(
      members.flatMap((one) => (one.attached && one.state === 'in-sync' ? [one.ostId] : [])),
    );
    const whole = object.members.flatMap(({ ostId, state }) => {
      const other = this.cluster.nodes.get(ostId)!;
      const stays = state === 'in-sync' && readable.has(ostId) && !this.older.has(other);
      return stays && other !== node ? [ostId] : [];
    });
    const chunks = Array.from({ length: plan.chunks }, (_, chunk) => mds.placement(object, chunk));
    return chunks.every((placed) => placed.some((ostId) => whole.includes(ostId)));
  }

  private keptSet(node: OstNode): number {
    const key = Buffer.from([RecordType.SET, ...parseId(this.cluster.object!.id)]).toString('hex');
    const bytes = node.disk.records.get(key);
    return bytes === undefined ? 0 : (decodeBody(bytes) as { set: StoredSet }).set.epoch;
  }
}
