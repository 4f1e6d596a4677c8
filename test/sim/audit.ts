import { parseId } from '../../src/common/ids.js';
import { isRebuilt } from '../../src/mds/in-sync-sets.js';
import { REBUILT_HOLDER } from '../../src/mds/rebuild/judge.js';
import type { StoredObject } from '../../src/mds/stored-object.js';
import { RecordType } from '../../src/ost/record-codec.js';
import {
  decodeBody,
  type Member,
  type ObjectRecord,
  type Params,
  type StoredSet,
  sameBootId,
} from '../../src/protocol/index.js';
import type { Cluster } from './cluster.js';

interface Swap {
  readonly loss: boolean;
  /** Of a seal: what it covers of the writes acknowledged when it was asked for. */
  readonly floors: Int32Array[] | null;
  /** By an MDS that may be lost since: asked again of a rebuilt one it is the same change. */
  recorded: boolean;
}

const inSync = (members: readonly Member[]) => members.filter((member) => member.state === 'in-sync');

/**
 * What is right of an object's record whoever asks for the change: a seal says the truth about every disk, a loss
 * is recorded only where nobody was left who had lost nothing (I8), and what OSTs keep of the set would not
 * bring back a member that has been dropped (I13).
 */
export class Audit {
  private readonly cluster: Cluster;
  private readonly swaps = new Map<string, Swap>();
  private readonly sets = new WeakMap<Buffer, StoredSet>();
  private readonly keys = new Map<number, string>();
  /** What was recorded last of a set or an open, by an MDS that may be lost since. */
  private latest: ObjectRecord | null = null;

  constructor(cluster: Cluster) {
    this.cluster = cluster;
  }

  /** A client sends a change, perhaps again. */
  asked(method: string, params: unknown): void {
    if (method === 'mds.changeVersions') this.cluster.cutAudit?.asked(params as Params<'mds.changeVersions'>);
    if (method !== 'mds.changeMembers' && method !== 'mds.seal') return;
    const { requestId, loss, seal } = params as Params<'mds.changeMembers'> & Params<'mds.seal'>;
    const { world, oracle } = this.cluster;
    if (this.swaps.has(requestId)) return world.count('swapsAskedAgain');
    const floors = method === 'mds.seal' ? oracle.taggedUpTo(seal) : null;
    this.swaps.set(requestId, { loss: loss === true, floors, recorded: false });
  }

  /** The record has changed. */
  committed(before: StoredObject, after: StoredObject): void {
    const { world, mds } = this.cluster;
    const known = this.latest;
    // What a rebuilt MDS writes down before somebody opens or changes the set is no news to the writer that lives on.
    if (!isRebuilt(after) || after.session.epoch > before.session.epoch) this.latest = after.object;
    const pools = [before, after].map(({ object }) => object.map.pool.map(({ ostId }) => ostId).join());
    if (pools[0] !== pools[1]) world.count('moves');
    const request = after.answered.at(-1);
    if (after.session.epoch > before.session.epoch) world.count(before.clean ? 'cleanOpens' : 'uncleanOpens');
    if (request === undefined || request.requestId === before.answered.at(-1)?.requestId) return;
    const swap = this.swaps.get(request.requestId);
    if (swap === undefined) return;
    mds.swapRecorded();
    if (swap.floors !== null) {
      world.count('seals');
      this.checkSealed(after, swap.floors);
    }
    const [was, is] = [before, after].map(({ object }) => inSync(object.members).map((one) => one.ostId));
    for (const id of was!) if (!is!.includes(id)) world.count('drops');
    for (const id of is!) if (!was!.includes(id)) world.count('joins');
    if (swap.loss) {
      if (!swap.recorded) this.checkLoss(before.object, this.setInForce(before, known));
      this.cluster.lossRecorded();
    }
    swap.recorded = true;
  }

  /** At an acknowledgement under `known`: the newest set that any OST keeps is no wider. */
  checkStoredSets(known: readonly Member[]): void {
    const { nodes, world } = this.cluster;
    const newest = this.newestKept([RecordType.SET, RecordType.OBJECT]);
    if (newest === null) return;
    const inForce = inSync(known).map((one) => one.ostId);
    for (const { ostId } of inSync(newest.members)) {
      if (inForce.includes(ostId)) continue;
      world.fail(`acknowledged while the newest set kept by OSTs still has ${nodes.get(ostId)!.name}`);
    }
  }

  /**
   * At an acknowledgement: as many OSTs as the volume asks for have the write (I1), or had it when they answered and
   * lost it since, as a power loss may do to what was not flushed.
   */
  checkHeld(block: number, contents: Buffer, losses: readonly number[]): void {
    const { cluster } = this;
    let held = 0;
    cluster.eachPlace(cluster.mds.peek(cluster.object!.id).object, block, 'cached', (bytes, node, i) => {
      if (bytes.equals(contents) || node.disk.losses > losses[i]!) held++;
    });
    const { minReplicas } = cluster.plan;
    if (minReplicas > 1) cluster.world.count('acknowledgedByTwo');
    if (held < minReplicas) {
      cluster.world.fail(`a write to block ${block} is acknowledged, and ${held} OSTs have it`);
    }
  }

  /** By any OST, as stored, or in the record of an attach as well. */
  private newestKept(types: readonly number[]): StoredSet | null {
    const { object, nodes } = this.cluster;
    const id = parseId(object!.id);
    const keys = types.map((type) => this.keyOf(type, id));
    let newest: StoredSet | null = null;
    for (const node of nodes.values()) {
      for (const key of keys) {
        const bytes = node.disk.records.get(key);
        if (bytes === undefined) continue;
        const set = this.decodeSet(bytes);
        if (newest === null || set.epoch > newest.epoch) newest = set;
      }
    }
    return newest;
  }

  private keyOf(type: number, id: Uint8Array): string {
    let key = this.keys.get(type);
    if (key === undefined) {
      key = Buffer.from([type, ...id]).toString('hex');
      this.keys.set(type, key);
    }
    return key;
  }

  private decodeSet(bytes: Buffer): StoredSet {
    let set = this.sets.get(bytes);
    if (set === undefined) {
      const body = decodeBody(bytes) as StoredSet & { set?: StoredSet };
      set = body.set ?? body;
      this.sets.set(bytes, set);
    }
    return set;
  }

  /**
   * Of who asks. A writer that lives on over a rebuild goes by the set that the lost MDS had recorded for it, which may be
   * on no OST yet. Whoever took over goes by what OSTs have stored, and that may have come to them after the rebuild; not by
   * what an attach brought, which has no word of a loss: one that only an attach knows of is recorded once more, and told (I8).
   */
  private setInForce(before: StoredObject, known: ObjectRecord | null): readonly Member[] {
    const { object, rebuiltFrom, session } = before;
    if (!isRebuilt(before)) return object.members;
    if (session.holder === REBUILT_HOLDER && known !== null) return known.members;
    const kept = this.newestKept([RecordType.SET]);
    return kept !== null && kept.epoch > rebuiltFrom! ? kept.members : object.members;
  }

  private checkSealed({ object }: StoredObject, floors: readonly Int32Array[]): void {
    const { cluster } = this;
    // What a version shows is in several files then; what comes of it is read in the end.
    if (cluster.snapshots !== null) return;
    cluster.eachReplica(object, 'durable', (block, bytes, node) => {
      if (cluster.rot?.isRotten(block, node) || cluster.olderCopies?.isOlder(node)) return;
      cluster.oracle.checkDurable(block, floors, bytes, node.name);
    });
  }

  /** Some chunk has only members that are under another boot id than recorded. */
  private checkLoss(object: ObjectRecord, inForce: readonly Member[]): void {
    const { nodes, plan, mds, world } = this.cluster;
    const members = inSync(inForce);
    const has = (member: Member) => {
      const node = nodes.get(member.ostId)!;
      const generation = node.core?.bootId.generation ?? 0;
      return sameBootId(member.bootId, { kernel: node.disk.kernelBootId, generation });
    };
    for (let chunk = 0; chunk < plan.chunks; chunk++) {
      const placed = mds.placement(object, chunk);
      if (members.filter((member) => placed.includes(member.ostId)).every((member) => !has(member))) return;
    }
    world.fail('a loss is recorded although every chunk has a member that lost nothing');
  }
}
