import { seededRandom } from '../../src/common/random.js';
import { isRebuilt } from '../../src/mds/in-sync-sets.js';
import { Cluster } from './cluster.js';
import { type HistoryKind, PLAIN } from './kind.js';
import { findLeaks } from './leaks.js';
import { OVER } from './older-copies.js';
import { loseMds } from './rebuild.js';
import { Rot, SUMS_TAKEN_MS } from './rot.js';
import { Swarm } from './swarm.js';
import { VersionReader } from './version-reader.js';
import { outsideReactions, Violation, World } from './world.js';

export interface RunOptions extends Partial<HistoryKind> {
  readonly seed: number;
  readonly steps: number;
  readonly onTrace?: (line: string) => void;
}

export interface RunResult {
  readonly seed: number;
  readonly traceHash: number;
  readonly events: number;
  readonly virtualMs: number;
  readonly counts: Record<string, number>;
  /** Null when every rule held. */
  readonly violation: string | null;
}

const CALM_LIMIT_MS = 300_000;
const LOAD_LIMIT_MS = 900_000;
const FAULTS_UNTIL_MS = 240_000;
/** In which everything that is nobody's is found and removed. */
const LEAKS_GO_MS = 60_000;

/** One history. The same seed and steps give the same one. */
export function runSeed(options: RunOptions): Promise<RunResult> {
  const world = new World(options.seed);
  world.onTrace = options.onTrace ?? null;
  const result = (violation: string | null): RunResult => ({
    seed: options.seed,
    traceHash: world.traceHash,
    events: world.events,
    virtualMs: world.nowMs,
    counts: world.counts,
    violation,
  });
  return outsideReactions(() => {
    const { stackTraceLimit } = Error;
    // Errors are an everyday thing here, and their stacks are costly.
    Error.stackTraceLimit = options.onTrace === undefined ? 0 : 10;
    try {
      history(world, options);
      return result(null);
    } catch (error) {
      if (error instanceof Violation && error.message === OVER) return result(null);
      return result(error instanceof Error ? `${error.message}` : String(error));
    } finally {
      Error.stackTraceLimit = stackTraceLimit;
    }
  });
}

function history(world: World, { seed: _, steps, onTrace: __, ...kind }: RunOptions): void {
  const { random } = world;
  const osts = 2 + random.below(2);
  const replicas = Math.min(osts, world.chance(0.1) ? 1 : world.chance(0.7) ? 2 : 3);
  const stripeWidth = osts === 3 && replicas === 2 && world.chance(0.6) ? 'all' : 1;
  // Decided apart: what else happens is the same with it.
  const minReplicas = replicas > 1 && seededRandom(world.seed ^ 0x3111).next() < 0.2 ? 2 : 1;
  if (minReplicas > 1) world.count('minReplicas2');
  const cluster = new Cluster(world, {
    osts,
    replicas,
    minReplicas,
    chunks: 8,
    stripeWidth,
    steps,
    ...PLAIN,
    ...kind,
  });
  cluster.start();
  cluster.olderCopies?.begin();
  cluster.snapshots?.begin();
  cluster.clones?.begin();
  cluster.keeper?.begin();
  cluster.newGuest(false).open();
  const swarm = new Swarm(world);
  let faulty = true;
  const next = () => {
    world.post(world.between(50, 3000), null, '', () => {
      if (!faulty || cluster.undisturbed) return;
      if (cluster.olderCopies?.pending !== true) swarm.act(cluster);
      next();
    });
  };
  next();
  // Some mixes of faults let nobody serve for long.
  world.run(() => cluster.loadOver || world.nowMs > FAULTS_UNTIL_MS, LOAD_LIMIT_MS, 'the load');
  faulty = false;
  calm(world, cluster);
}

/** Every fault is over: all goes on, all replicas come together, and what they hold is right. */
function calm(world: World, cluster: Cluster): void {
  world.trace('CALM');
  cluster.calm = true;
  cluster.next.forget();
  cluster.quietUntilMs = 0;
  cluster.onlyReadsUntilMs = 0;
  cluster.mds.onNextSwap = null;
  const { network, mds } = cluster;
  network.heal();
  network.slowUntilMs = 0;
  for (const node of cluster.osts) {
    node.disk.failSyncs = 0;
    node.disk.full = false;
    node.disk.slowUntilMs = 0;
    if (!node.process?.alive) node.start();
  }
  if (!mds.process?.alive && !mds.rebuilding) mds.start();
  if (mds.leftOut !== null) loseMds(cluster);
  const guest = cluster.guest!;
  const stopped = [guest.process, mds.process!, ...cluster.osts.map((node) => node.process!)];
  const goOnMs = Math.max(world.nowMs, ...stopped.map((process) => process.pausedUntilMs)) + 100;
  // And a moment for lost connections to be told.
  const up = () => world.nowMs >= goOnMs && mds.mds !== null && cluster.osts.every((node) => node.serving);
  world.run(up, CALM_LIMIT_MS, 'every server');
  world.run(() => cluster.loadOver, LOAD_LIMIT_MS, 'the rest of the load');
  guest.stop();
  world.run(() => guest.volume !== null && guest.idle && guest.settled, CALM_LIMIT_MS, 'the last requests');
  const whole = () => {
    const status = guest.volume?.status();
    return status?.unreconciledRegions === 0 && status.members.every((member) => member.state === 'in-sync');
  };
  // Its gateway may have to begin again once more: where a rebuilt MDS does not know the session (fencedByRebuild).
  world.run(() => guest.idle && whole(), CALM_LIMIT_MS, 'all replicas in sync');
  world.run(() => cluster.moves!.over, CALM_LIMIT_MS, 'the end of a move');
  // What changes by itself it finds in files of one version.
  const rot = cluster.snapshots === null && Rot.isIn(cluster) ? new Rot(cluster) : null;
  cluster.rot = rot;
  if (rot !== null) {
    const restedMs = world.nowMs + SUMS_TAKEN_MS;
    world.run(() => world.nowMs > restedMs, CALM_LIMIT_MS, 'checksums');
    rot.begin(mds.peek(cluster.object!.id).object);
  }
  // From here on nobody begins again.
  const volume = guest.volume!;
  guest.readAll();
  world.run(() => guest.idle, CALM_LIMIT_MS, 'reading everything');
  if (rot !== null) {
    rot.interrupt();
    const wholeAgain = () => rot.undisturbed && guest.volume === volume && whole();
    world.run(wholeAgain, CALM_LIMIT_MS, 'all replicas in sync after a repair');
    rot.scrub();
  }
  world.run(() => rot === null || rot.repaired, CALM_LIMIT_MS, 'the repair of what changed by itself');
  if (cluster.snapshots !== null) {
    endOfVersions(world, cluster);
    // A tool may have had the volume meanwhile, and the gateway has opened it again.
    world.run(() => guest.idle && whole(), CALM_LIMIT_MS, 'all replicas in sync at the end');
  }
  let closed = false;
  guest.close().then(() => {
    closed = true;
  });
  world.run(() => closed, CALM_LIMIT_MS, 'close');
  const stored = mds.peek(cluster.object!.id);
  const { object } = stored;
  // A writer that has changed nothing since the MDS was rebuilt may speak of a seal which that does not know.
  if (!stored.clean && !isRebuilt(stored)) world.fail('the last close was not clean');
  if (cluster.snapshots !== null) checkVersions(world, cluster);
  else {
    cluster.compareDisks(object, 'cached');
    // What was sealed is durable everywhere.
    cluster.compareDisks(object, 'durable');
  }
  for (const node of cluster.osts) node.checkDamage();
  if (world.violation !== null) throw world.violation;
}

/** Whatever was asked for has been done or given up, clones are closed, and what was removed is gone. */
function endOfVersions(world: World, cluster: Cluster): void {
  const { mds, snapshots, clones } = cluster;
  world.run(() => snapshots!.settled, CALM_LIMIT_MS, 'changes of the volume');
  clones!.stop();
  world.run(() => clones!.settled, CALM_LIMIT_MS, 'clones in order');
  const merged = () => snapshots!.merged(mds.peek(cluster.object!.id).object);
  world.run(merged, CALM_LIMIT_MS, 'what removed snapshots left');
}

/** Every version of every volume, and that there is nothing else. */
function checkVersions(world: World, cluster: Cluster): void {
  const { mds, oracle, snapshots, clones } = cluster;
  const { object } = mds.peek(cluster.object!.id);
  snapshots!.checkPromises(object);
  clones!.checkPromises();
  const reader = new VersionReader(cluster);
  const volumes = [{ object, oracle, cuts: snapshots!.cuts }, ...clones!.versioned()];
  for (const volume of volumes) {
    let done = false;
    reader.check(volume).then(
      () => {
        done = true;
      },
      (error) => world.fail(`reading versions of ${volume.object.name}: ${error.stack ?? error}`),
    );
    world.run(() => done, CALM_LIMIT_MS, 'reading every version');
  }
  const leaks = () => findLeaks(cluster);
  const untilMs = world.nowMs + LEAKS_GO_MS;
  world.run(
    () => leaks().length === 0 || world.nowMs > untilMs,
    CALM_LIMIT_MS,
    'the collection of what is left',
  );
  const [leak] = leaks();
  if (leak !== undefined) world.fail(`left: ${leak}`);
}
