import { parseId } from '../../src/common/ids.js';
import type { StoredObject } from '../../src/mds/stored-object.js';
import { sharesParent } from '../../src/ost/layers/index.js';
import { RecordType } from '../../src/ost/record-codec.js';
import { decodeBody, type StoredSet } from '../../src/protocol/index.js';
import type { Cluster } from './cluster.js';
import { pick, restartLater } from './faults.js';
import type { OstNode } from './ost-node.js';

/** Ends a history that has nothing more to say. */
export const OVER = 'what is left is an older copy, and that is told';

const PARENT_PAUSE_MS = 12_000;

interface Copy {
  readonly node: OstNode;
  readonly restore: () => void;
  readonly records: ReadonlyMap<string, Uint8Array>;
  /** By path: what each file has. */
  readonly files: ReadonlyMap<string, ReadonlyMap<number, Buffer>>;
}

/**
 * Directories of OSTs are put back from copies of some time ago, all along. Power does not fail in such a history, and the MDS is not
 * lost: so nothing that was ever acknowledged may be gone, and no loss may be told. One is put back only where the MDS has on record that
 * more was kept there, which is what it is told by; a clone that was made since is told by being unknown there.
 */
export class OlderCopies {
  private readonly cluster: Cluster;
  private copy: Copy | null = null;
  /** By object: put back, and not dropped yet. What is recorded meanwhile may still count on it. */
  private readonly older = new Map<string, Set<OstNode>>();

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

  /** Of the volume. */
  isOlder(node: OstNode): boolean {
    return this.older.get(this.cluster.object!.id)?.has(node) === true;
  }

  /** Nobody knows of it yet: another fault would leave nothing but it. */
  get pending(): boolean {
    for (const [id, nodes] of this.older) {
      // A clone may have been removed meanwhile.
      if (nodes.size > 0 && this.cluster.mds.find(id) !== null) return true;
    }
    return false;
  }

  /** A record has changed. */
  committed(before: StoredObject, { object, lossWallMs }: StoredObject): void {
    if (this.pending && lossWallMs !== null && before.lossWallMs === null) {
      this.cluster.world.count('olderCopyLeft');
      this.cluster.world.fail(OVER);
    }
    const nodes = this.older.get(object.id) ?? new Set();
    for (const node of nodes) {
      const member = object.members.find(({ ostId }) => ostId === node.ostId);
      if (member?.state !== 'in-sync') nodes.delete(node);
    }
  }

  private take(): void {
    const { cluster } = this;
    const node = pick(cluster, cluster.osts);
    if (cluster.object === null || this.pending) return;
    node.kill();
    const { disk } = node;
    const files = new Map([...disk.files].map(([path, { cached }]) => [path, new Map(cached)]));
    this.copy = { node, restore: disk.copy(), records: new Map(disk.records), files };
    restartLater(cluster, node);
  }

  private putBack(copy: Copy): void {
    const { cluster } = this;
    const { world, mds } = cluster;
    const { node, restore } = copy;
    const volume = mds.peek(cluster.object!.id);
    const member = memberOf(volume, node);
    if (member === undefined) {
      this.copy = null;
      return;
    }
    // Its fence is older too: one that was fenced, and lives on, is served by it until the next has attached anew.
    if (cluster.former.some((old) => old.alive)) return;
    if (!this.isBehind(copy, volume) || (member.state === 'in-sync' && !this.canLose(node, volume))) return;
    const clones = mds.all().filter((one) => one !== volume && memberOf(one, node) !== undefined);
    const changed = clones.filter((one) => !this.isAsItWas(copy, one));
    for (const clone of changed) {
      const inSync = memberOf(clone, node)!.state === 'in-sync';
      if (!this.isBehind(copy, clone) || !cluster.clones!.isUsed(clone.object.id)) return;
      if (inSync && !this.canLose(node, clone)) return;
    }
    node.kill();
    restore();
    world.trace(`PUT BACK ${node.name}`);
    world.count(member.state === 'in-sync' ? 'olderCopies' : 'olderStaleCopies');
    const isNew = (one: StoredObject) => !copy.records.has(keyOf(RecordType.OBJECT, one));
    // What a clone lies over is then noticed by the clone alone, for a while: the volume would soon have it brought anew.
    if (changed.some(isNew)) cluster.guest!.process.pauseFor(world.between(2000, PARENT_PAUSE_MS));
    for (const one of [volume, ...changed]) {
      if (memberOf(one, node)!.state !== 'in-sync') continue;
      this.older.set(one.object.id, (this.older.get(one.object.id) ?? new Set()).add(node));
      if (one === volume) continue;
      world.count('olderCopiesOfClones');
      if (isNew(one)) world.count('olderThanClones');
    }
    restartLater(cluster, node);
    this.copy = null;
  }

  /** Who uses the object has to tell that the copy is older than what was there. */
  private isBehind({ node, records }: Copy, stored: StoredObject): boolean {
    const { keptEpoch = 0, state, staleSince } = memberOf(stored, node)!;
    if (state === 'stale' && staleSince === 0) return true;
    const bytes = records.get(keyOf(RecordType.SET, stored));
    const kept = bytes === undefined ? 0 : (decodeBody(bytes) as { set: StoredSet }).set.epoch;
    if (keptEpoch > kept) return true;
    const isNew = !records.has(keyOf(RecordType.OBJECT, stored));
    return isNew && sharesParent(stored.object, node.ostId);
  }

  /** Nothing of the object has changed there since the copy. */
  private isAsItWas({ node, records, files }: Copy, stored: StoredObject): boolean {
    const { disk } = node;
    const id = parseId(stored.object.id).toString('hex');
    const ofObject = (key: string) => key.slice(2).startsWith(id);
    const keys = new Set([...records.keys(), ...disk.records.keys()].filter(ofObject));
    for (const key of keys) {
      const [then, now] = [records.get(key), disk.records.get(key)];
      if (then === undefined || now === undefined || Buffer.compare(then, now) !== 0) return false;
    }
    const ofFile = (path: string) => path.startsWith(`${stored.object.id}/`);
    for (const path of new Set([...files.keys(), ...disk.files.keys()].filter(ofFile))) {
      const [then, now] = [files.get(path), disk.files.get(path)?.cached];
      if (then === undefined || now === undefined || then.size !== now.size) return false;
      for (const [block, content] of then) if (now.get(block) !== content) return false;
    }
    return true;
  }

  /** Each chunk has somebody else in sync who holds all. */
  private canLose(node: OstNode, { object }: StoredObject): boolean {
    const { mds, plan, guest, clones, object: created } = this.cluster;
    const isClone = object.id !== created!.id;
    const volume = isClone ? clones!.volumeOf(object.id) : guest?.volume;
    // A drop may be asked for that is not on record yet.
    const members = volume?.status().members ?? [];
    const readable = new Set(
      members.flatMap((one) => (one.attached && one.state === 'in-sync' ? [one.ostId] : [])),
    );
    const old = new Set([...this.older.values()].flatMap((nodes) => [...nodes]));
    const whole = object.members.flatMap(({ ostId, state }) => {
      const other = this.cluster.nodes.get(ostId)!;
      const stays = state === 'in-sync' && readable.has(ostId) && !old.has(other);
      return stays && other !== node ? [ostId] : [];
    });
    const chunks = Array.from({ length: plan.chunks }, (_, chunk) => mds.placement(object, chunk));
    return chunks.every((placed) => placed.some((ostId) => whole.includes(ostId)));
  }
}

const memberOf = ({ object }: StoredObject, { ostId }: OstNode) =>
  object.members.find((member) => member.ostId === ostId);

const keyOf = (type: number, { object }: StoredObject): string =>
  Buffer.from([type, ...parseId(object.id)]).toString('hex');
