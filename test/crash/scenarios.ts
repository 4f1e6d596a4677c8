import { seededRandom } from '../../src/common/random.js';
import { MiB } from '../../src/common/units.js';
import { Guest, pause } from './guest.js';
import { LegalValues, SECTOR_BYTES } from './legal-values.js';
import { chunkFiles, TortureCluster, VOLUME, within } from './torture-cluster.js';

/** Orders of events that break a rule, each as a run of real processes that throws where it finds it broken. */

const REGION_SECTORS = (4 * MiB) / SECTOR_BYTES;
const PIECE_SECTORS = (64 * 1024) / SECTOR_BYTES;
const WAIT_MS = 30_000;
const SIZE_BYTES = 16 * MiB;

/** Two replicas under one volume, a guest on each gateway. @param root of another build */
async function withCluster(
  gateways: number,
  root: string | undefined,
  run: (cluster: TortureCluster, values: LegalValues, guests: Guest[]) => Promise<void>,
): Promise<void> {
  const random = seededRandom(7);
  const options = {
    osts: 2,
    gateways,
    disk: 'ext4' as const,
    random,
    ...(root === undefined ? {} : { root }),
  };
  const cluster = await TortureCluster.start(options);
  const guests: Guest[] = [];
  try {
    await cluster.createVolume({ sizeBytes: SIZE_BYTES, chunkSizeBytes: SIZE_BYTES, replicas: 2 });
    await run(cluster, new LegalValues(SIZE_BYTES), guests);
  } finally {
    for (const guest of guests) await guest.closed();
    await cluster.end();
  }
}

function guestOn(cluster: TortureCluster, values: LegalValues, gateway = 0, once = false): Guest {
  const socketPath = cluster.socketPath(gateway);
  const random = seededRandom(gateway);
  return new Guest({
    name: `guest ${gateway + 1}`,
    socketPath,
    volume: VOLUME,
    values,
    random,
    once,
    depth: 8,
  });
}

async function writeRegion(guest: Guest, region: number): Promise<void> {
  const first = region * REGION_SECTORS;
  const writes: Promise<number>[] = [];
  for (let i = 0; i < REGION_SECTORS; i += PIECE_SECTORS) writes.push(guest.write(first + i, PIECE_SECTORS));
  await Promise.all(writes);
}

/** Reads again and again: from any replica, and whatever was read once stays. */
async function readOften(guest: Guest): Promise<void> {
  for (let i = 0; i < 4; i++) await guest.readAll();
}

async function everythingLosesPower(cluster: TortureCluster, values: LegalValues): Promise<void> {
  cluster.gateways[0]!.kill();
  // The servers are killed when this returns, before anything else happens here.
  const cut = cluster.cutPower([...cluster.osts, cluster.mds]);
  values.loss();
  await cut;
  await cluster.heal();
}

async function finish(cluster: TortureCluster, guest: Guest, values: LegalValues): Promise<void> {
  await within(WAIT_MS, 'all replicas are in sync', () => cluster.whole());
  await guest.readAll();
  await guest.closed();
  await cluster.stopIo();
  await cluster.compareReplicas(values);
}

/**
 * The power fails everywhere when one replica's kernel has written back what the guest never flushed and the
 * other's has not. Afterwards they have to be made alike (I2 tells where), and the loss has to be told.
 */
export function powerFailsEverywhere(root?: string): Promise<void> {
  return withCluster(1, root, async (cluster, values, guests) => {
    const guest = guestOn(cluster, values);
    guests.push(guest);
    await writeRegion(guest, 0);
    if ((await guest.flush()) !== 0) throw new Error('a flush failed before anything had happened');
    for (const { disk } of cluster.osts) await disk.writeBack('ost/records/data.mdb');
    await writeRegion(guest, 1);
    await writeRegion(guest, 2);
    const [luckier] = cluster.osts;
    for (const file of chunkFiles(luckier!.disk)) await luckier!.disk.writeBack(file);
    await everythingLosesPower(cluster, values);
    await readOften(guest);
    if ((await guest.flush()) === 0) throw new Error('the flush after a loss did not tell of it');
    if ((await guest.flush()) !== 0) throw new Error('a loss was told twice');
    if ((await cluster.volume()).lossWallMs === null) throw new Error('the loss is not on record');
    await finish(cluster, guest, values);
  });
}

/** The power fails everywhere right after a flush and a FUA write: whatever survives, these do (I1, I10). */
export function powerFailsAfterFlush(root?: string): Promise<void> {
  return withCluster(1, root, async (cluster, values, guests) => {
    const guest = guestOn(cluster, values);
    guests.push(guest);
    await writeRegion(guest, 0);
    await guest.flush();
    await guest.write(REGION_SECTORS, PIECE_SECTORS, true);
    await everythingLosesPower(cluster, values);
    await readOften(guest);
  });
}

/** One of two replicas loses its power, and with it what it had acknowledged and not been asked to flush (I8). */
export function powerFailsOnOne(root?: string): Promise<void> {
  return withCluster(1, root, async (cluster, values, guests) => {
    const guest = guestOn(cluster, values);
    guests.push(guest);
    await writeRegion(guest, 0);
    await guest.flush();
    await writeRegion(guest, 0);
    await writeRegion(guest, 1);
    const [unlucky] = cluster.osts;
    // Or it would have left the set before it is back, and be resynced whatever its boot id says.
    cluster.gateways[0]!.freeze();
    await cluster.cutPower([unlucky!]);
    await unlucky!.server.start();
    cluster.gateways[0]!.thaw();
    await readOften(guest);
    await finish(cluster, guest, values);
    if ((await cluster.volume()).lossWallMs !== null) throw new Error('a loss was recorded that was none');
  });
}

/**
 * A gateway stands still until another has taken its volume over; then that one stands still, the replicas are
 * restarted, and the first goes on: nothing of it may be served any more (I4).
 */
export function olderWriterWakes(root?: string): Promise<void> {
  return withCluster(2, root, async (cluster, values, guests) => {
    const older = guestOn(cluster, values, 0, true);
    guests.push(older);
    await writeRegion(older, 0);
    await older.flush();
    cluster.gateways[0]!.freeze();
    // A metadata server that was restarted gives the lease away after 4 s, not 10.
    cluster.mds.server.kill();
    await cluster.mds.server.start();
    const newer = guestOn(cluster, values, 1);
    guests.push(newer);
    await newer.write(0, PIECE_SECTORS);
    cluster.gateways[1]!.freeze();
    for (const { server } of cluster.osts) server.kill();
    await Promise.all(cluster.osts.map(({ server }) => server.start()));
    // The fences alone must do: the metadata server would tell it as well.
    cluster.mds.server.freeze();
    let served = '';
    const before = older.answered;
    // Errors, and no answer at all, are as it should be.
    const noteWhat = (what: string) => (errno: number) => {
      if (errno === 0) served ||= `a ${what} of a writer that was replaced was served`;
    };
    older.write(0, PIECE_SECTORS).then(noteWhat('write'), () => {});
    older.read(0, PIECE_SECTORS).then(noteWhat('read'), () => {});
    cluster.gateways[0]!.thaw();
    await within(WAIT_MS, 'the older writer learns that it was replaced', () => {
      return older.answered > before || older.failure !== null || !older.connected;
    });
    // What it may still do, it does in this time.
    await pause(300);
    cluster.gateways[0]!.kill();
    cluster.mds.server.thaw();
    cluster.gateways[1]!.thaw();
    if (served !== '') throw new Error(served);
    await older.closed();
    await readOften(newer);
    await finish(cluster, newer, values);
  });
}
