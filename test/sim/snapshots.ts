import { changeVolume } from '../../src/client/change.js';
import type { Volume } from '../../src/client/index.js';
import { openVolume } from '../../src/client/open.js';
import { asRawstorError, type RawstorError } from '../../src/common/errors.js';
import { type Random, seededRandom } from '../../src/common/random.js';
import type { ObjectInfo, ObjectRecord, Snapshot, VersionChange } from '../../src/protocol/index.js';
import { mergeable } from '../../src/protocol/version-messages.js';
import { askChanged } from './changed.js';
import { clientEnvironment } from './client-environment.js';
import { CHUNK_BYTES, type Cluster } from './cluster.js';
import type { Guest } from './guest.js';
import type { GuestRequest } from './guest-request.js';
import { MdsLink } from './mds-node.js';
import type { Cut, Write } from './oracle.js';
import { cameAbout, type PendingChange } from './pending-change.js';
import { SimProcess } from './process.js';

const EVERY_MS = 4000;
/** Between two looks whether what was asked for can still come about. */
const LOOK_MS = 200;
/** As many as an MDS that is stopped takes to go on with what it has begun. */
const QUIET_LOOKS = 30;
/** Who has asked for a size may know of it before the gateway does. */
const TOLD_MS = 5000;
const TOOL_TIMEOUT_MS = 20_000;
export const TOOL = 'tool';
const MAX_NAMED = 5;

/**
 * Changes of the guests' volume all along: snapshots taken, removed and rolled back to, the size changed; asked for by the writer's own
 * process or by a tool, which may be killed. Each snapshot has to be an exact cut (I11), the head after a rollback what the
 * snapshot is, and what was cut short the old state or the new one.
 */
export class Snapshots {
  readonly cuts = new Map<string, Cut>();
  /** Snapshots that somebody was told of, and nobody has asked to be removed. */
  readonly promised = new Set<string>();
  private readonly cluster: Cluster;
  /** Of its own, so that the same seed without snapshots is the history it always was. */
  private readonly random: Random;
  private pending: PendingChange | null = null;
  /** Looks in a row at which nobody could bring about any more what is pending. */
  private quietLooks = 0;
  private sizeBytes: number;
  /** What guests may touch: less than the size while that is changed. */
  private openBytes: number;
  private openedAtMs = 0;
  private count = 0;

  constructor(cluster: Cluster) {
    this.cluster = cluster;
    this.random = seededRandom(cluster.world.seed ^ 0x534e41);
    this.sizeBytes = cluster.plan.chunks * CHUNK_BYTES;
    this.openBytes = this.sizeBytes;
  }

  /** Changes something now and then, until the load is over. */
  begin(): void {
    const { cluster } = this;
    cluster.later(1 + this.random.below(EVERY_MS), '', () => {
      const { guest } = cluster;
      // What a volume needs that the MDS does not know is not guarded from anybody.
      const whole = cluster.mds.leftOut === null && !cluster.mds.rebuilding;
      if (guest?.alive && this.pending === null && whole) this.act(guest);
      if (cluster.plan.asksChanged && guest?.alive && guest.volume !== null) {
        void askChanged(cluster, guest, this.cuts);
      }
      this.begin();
    });
    if (this.count++ === 0) this.look();
  }

  /** Whether guests may read and write the block. */
  isOpen(block: number): boolean {
    return this.cluster.isIn(block, this.openBytes);
  }

  /** It may have found the volume too short: then, or because its gateway does not know yet that it has grown. */
  mayBeOutside({ submittedAtMs }: GuestRequest, volume: Volume | null): boolean {
    const { openedAtMs, openBytes, fullBytes } = this;
    if (openedAtMs === 0) return false;
    return submittedAtMs <= openedAtMs + TOLD_MS || openBytes < fullBytes || volume!.sizeBytes < fullBytes;
  }

  /** It is known what became of everything. */
  get settled(): boolean {
    return this.pending === null;
  }

  /** What no OST has anything of any more has been forgotten. */
  merged(object: ObjectRecord): boolean {
    return mergeable(object).length === 0;
  }

  /** A snapshot of the volume that somebody may use now. */
  pickSnapshot(): { snapshot: Snapshot; cut: Cut } | null {
    const { object } = this.cluster.mds.peek(this.cluster.object!.id);
    const named = object.snapshots.filter((one) => one.name !== null && this.promised.has(one.name));
    const snapshot = named[this.random.below(Math.max(1, named.length))];
    return snapshot === undefined ? null : { snapshot, cut: this.cuts.get(snapshot.name!)! };
  }

  /** At the end nothing is missing that was promised. */
  checkPromises(object: ObjectRecord): void {
    for (const name of this.promised) {
      if (!object.snapshots.some((one) => one.name === name)) {
        this.cluster.world.fail(`snapshot ${name} was taken, and is not there any more`);
      }
    }
  }

  private get fullBytes(): number {
    return this.cluster.plan.chunks * CHUNK_BYTES;
  }

  private act(guest: Guest): void {
    const { random, cluster } = this;
    const { object } = cluster.mds.peek(cluster.object!.id);
    const named = object.snapshots.filter((one) => one.name !== null);
    const kind = random.next();
    if (named.length > MAX_NAMED || (named.length > 0 && kind < 0.25)) {
      return this.remove(guest, object, named[random.below(named.length)]!);
    }
    if (named.length > 0 && kind < 0.4) return this.rollBack(guest, object);
    if (kind < 0.6) return this.resize(guest, object);
    const name = `s${this.count++}`;
    this.ask(guest, object, { kind: 'snapshot', name }, this.cutting(name));
  }

  private remove(guest: Guest, object: ObjectRecord, { name, version }: Snapshot): void {
    this.promised.delete(name!);
    this.ask(guest, object, { kind: 'remove', version }, { done() {}, undone() {} });
  }

  /** A snapshot is being taken. */
  private cutting(name: string): { done: () => void; undone: () => void } {
    const { oracle } = this.cluster;
    const cut = oracle.beginCut();
    this.cuts.set(name, cut);
    return {
      done: () => {
        oracle.endCut(cut);
        this.promised.add(name);
      },
      undone: () => this.cuts.delete(name),
    };
  }

  private rollBack(guest: Guest, object: ObjectRecord): void {
    const { cluster } = this;
    const { oracle } = cluster;
    const found = this.pickSnapshot();
    if (found === null) return;
    const { snapshot, cut } = found;
    const keepAs = this.random.next() < 0.5 ? `s${this.count++}` : null;
    const kept = keepAs === null ? null : this.cutting(keepAs);
    const writes = cluster
      .blocksIn(this.fullBytes)
      .map(
        (block): Write =>
          cluster.isIn(block, snapshot.sizeBytes) ? oracle.issueShown(block, cut) : oracle.issue(block, true),
      );
    this.close(snapshot.sizeBytes);
    this.ask(
      guest,
      object,
      { kind: 'rollback', to: snapshot.version, keepAs },
      {
        done: () => {
          kept?.done();
          for (const write of writes) oracle.acknowledged(write, true, 0);
          this.sizeBytes = snapshot.sizeBytes;
        },
        undone: () => {
          kept?.undone();
          for (const write of writes) oracle.undone(write);
        },
      },
    );
  }

  /** What is cut off is zeros when the volume grows again. */
  private resize(guest: Guest, object: ObjectRecord): void {
    const { cluster, random } = this;
    const { oracle } = cluster;
    const sizes = [6 * CHUNK_BYTES, 6 * CHUNK_BYTES + 4096, 7 * CHUNK_BYTES + 2048, this.fullBytes];
    const others = sizes.filter((size) => size !== this.sizeBytes);
    const sizeBytes = others[random.below(others.length)]!;
    const cut = cluster.blocksIn(this.sizeBytes).filter((block) => !cluster.isIn(block, sizeBytes));
    const writes = cut.map((block) => oracle.issue(block, true));
    this.close(sizeBytes);
    this.ask(
      guest,
      object,
      { kind: 'resize', sizeBytes },
      {
        done: () => {
          for (const write of writes) oracle.acknowledged(write, true, 0);
          this.cluster.world.count(sizeBytes < this.sizeBytes ? 'shrunk' : 'grown');
          this.sizeBytes = sizeBytes;
        },
        undone: () => {
          for (const write of writes) oracle.undone(write);
        },
      },
    );
  }

  private close(sizeBytes: number): void {
    this.openBytes = Math.min(this.openBytes, sizeBytes);
    // From now on, until it is open again.
    this.openedAtMs = this.cluster.world.nowMs;
  }

  private ask(
    guest: Guest,
    object: ObjectRecord,
    change: VersionChange,
    effect: { done: () => void; undone: () => void },
  ): void {
    const { volume } = guest;
    const byTool = volume === null || this.random.below(3) === 0;
    let refused: RawstorError | null = null;
    let isOver: () => boolean;
    let asked: Promise<ObjectInfo | null>;
    if (byTool) {
      const tool = new SimProcess(this.cluster.world, `host${this.random.below(2)}`);
      asked = this.byTool(tool, change, volume === null || this.random.below(2) === 0);
      isOver = () => (refused !== null || !tool.alive) && this.withdrawn();
    } else {
      const session = volume.object.sessionEpoch;
      asked = volume.change(change);
      const { process } = guest;
      const goesOn = () => process.alive && guest.alive && guest.volume === volume;
      // As long as its session goes on, its process knows what has become of it.
      isOver = () => this.sessionSince(session) || (refused !== null && goesOn());
    }
    const pending = { change, headVersion: object.headVersion, over: () => isOver(), ...effect };
    this.pending = pending;
    asked.then(
      (done) => {
        if (this.pending !== pending) return;
        if (done !== null) this.end(pending, true);
        else refused = asRawstorError(new Error('nobody holds it'));
      },
      (error) => {
        refused = asRawstorError(error);
        this.cluster.world.count(`${change.kind} ${refused.code}`);
        if (refused.code === 'INTERNAL' || refused.code === 'INVALID') {
          this.cluster.world.fail(`${change.kind}: ${refused.stack} ${refused.cause}`);
        }
      },
    );
  }

  /** As the command line does it; where nobody has the volume open, in this process. */
  private byTool(tool: SimProcess, change: VersionChange, mayOpen: boolean): Promise<ObjectInfo | null> {
    const { cluster, random } = this;
    const { world, network, mds } = cluster;
    const link = new MdsLink(world, network, tool, mds);
    link.onAsked = (method, params) => cluster.audit.asked(method, params);
    link.onLossAnswered = () => cluster.lossKnown();
    if (random.below(4) === 0) {
      tool.later(random.below(2000), 'the tool is killed', () => {
        world.count('toolsKilled');
        tool.kill();
      });
    }
    world.count('byTool');
    const options = { clock: tool.clock, timeoutMs: TOOL_TIMEOUT_MS, holder: TOOL };
    if (mayOpen) {
      const env = clientEnvironment(cluster, tool);
      const opener = {
        mds: link as never,
        openVolume: (ref: string, how: Parameters<typeof openVolume>[3]) =>
          openVolume(env, link as never, ref, how, TOOL),
      };
      return changeVolume(opener, 'v', change, options);
    }
    const asked = { ref: 'v', change, timeoutMs: TOOL_TIMEOUT_MS };
    return link.call('mds.askChange', asked, TOOL_TIMEOUT_MS + 3000).then(({ object }) => object);
  }

  /** The MDS has handed it to nobody, and hands it to nobody. */
  private withdrawn(): boolean {
    const { mds, object } = this.cluster;
    return mds.mds !== null && mds.mds.versions.first(object!.id) === null && !this.toolHolds();
  }

  /** A tool that is alive has the volume open. */
  private toolHolds(): boolean {
    const { session } = this.cluster.mds.peek(this.cluster.object!.id);
    return session.holder === TOOL && session.open;
  }

  private sessionSince(epoch: number): boolean {
    return this.cluster.mds.peek(this.cluster.object!.id).session.epoch > epoch;
  }

  private look(): void {
    const { world, mds, object } = this.cluster;
    world.post(LOOK_MS, null, '', () => {
      const { pending } = this;
      const quiet = pending?.over() === true && !mds.rebuilding;
      this.quietLooks = quiet ? this.quietLooks + 1 : 0;
      if (pending !== null && this.quietLooks >= QUIET_LOOKS) {
        this.end(pending, cameAbout(mds.peek(object!.id).object, pending));
      }
      this.look();
    });
  }

  private end(pending: PendingChange, done: boolean): void {
    const { world } = this.cluster;
    this.pending = null;
    world.count(done ? pending.change.kind : `${pending.change.kind} undone`);
    if (done) pending.done();
    else pending.undone();
    this.openBytes = this.sizeBytes;
    this.openedAtMs = Math.max(this.openedAtMs, world.nowMs);
  }
}
