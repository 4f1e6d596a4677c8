import type { Random } from '../../src/common/random.js';
import { seededRandom } from '../../src/common/random.js';
import { MiB } from '../../src/common/units.js';
import { Faults } from './faults.js';
import { Guest, pause } from './guest.js';
import { LegalValues, SECTOR_BYTES } from './legal-values.js';
import { TortureCluster, VOLUME, within } from './torture-cluster.js';

const SIZE_BYTES = 32 * MiB;
const CHUNK_BYTES = 4 * MiB;
const OSTS = 3;
/** A replica that was away is tried again after 30 s at most. */
const HEAL_MS = 90_000;

export interface TortureReport {
  readonly seed: number;
  readonly shape: string;
  readonly faults: Readonly<Record<string, number>>;
  readonly answered: number;
  readonly mib: number;
  readonly reconnects: number;
  readonly lossesTold: number;
  readonly noSpace: number;
}

/**
 * A verifying load on a cluster of real processes while random things happen to it. The seed decides on the
 * cluster, the load and the faults; when exactly processes run is the machine's.
 * @throws with the history of faults at the first thing that must not be
 */
export async function torture(seed: number, durationMs: number): Promise<TortureReport> {
  const random = seededRandom(seed);
  const disk = random.below(2) === 0 ? ('ext4' as const) : ('xfs' as const);
  const replicas = 2 + random.below(2);
  const stripeWidth = random.below(2) === 0 ? 1 : 'all';
  const shape = `${replicas} replicas on ${disk}, stripe width ${stripeWidth}`;
  const cluster = await TortureCluster.start({ osts: OSTS, gateways: 1, disk, random: fork(random) });
  const values = new LegalValues(SIZE_BYTES);
  const faults = new Faults(cluster, values, fork(random));
  let guest: Guest | null = null;
  try {
    await cluster.createVolume({ sizeBytes: SIZE_BYTES, chunkSizeBytes: CHUNK_BYTES, replicas, stripeWidth });
    guest = new Guest({
      name: 'guest',
      socketPath: cluster.socketPath(),
      volume: VOLUME,
      values,
      random: fork(random),
      // In the last eighth requests overlap as they like.
      overlapFromSector: (SIZE_BYTES * 7) / 8 / SECTOR_BYTES,
    });
    guest.load();
    await pause(500);
    const endMs = Date.now() + durationMs;
    while (Date.now() < endMs && guest.failure === null) await faults.next(guest);
    await settle(cluster, guest, values);
    const { answered, bytes, reconnects, lossesTold, noSpace } = guest;
    const mib = Math.round(bytes / MiB);
    return { seed, shape, faults: faults.counts, answered, mib, reconnects, lossesTold, noSpace };
  } catch (cause) {
    const told = `seed ${seed} (${shape}): ${(guest?.failure ?? (cause as Error)).message}`;
    throw new Error(`${told}\nfaults:\n${faults.history.join('\n')}\n${lastWords(cluster)}`, { cause });
  } finally {
    await guest?.closed();
    await cluster.end();
  }
}

/** Everything is healed: it has to be answered, to become whole, and to be right and the same everywhere. */
async function settle(cluster: TortureCluster, guest: Guest, values: LegalValues): Promise<void> {
  const quiet = guest.quiet();
  quiet.catch(() => {});
  await within(HEAL_MS, 'all requests are answered', () => guest.idle || guest.failure !== null).catch(() => {
    throw new Error(`not answered within ${HEAL_MS} ms of health: ${guest.waiting()}`);
  });
  await quiet;
  await within(HEAL_MS, 'all replicas are in sync', () => cluster.whole());
  await guest.readAll();
  await guest.flush();
  await guest.readAll();
  const { lossWallMs } = await cluster.volume();
  if (values.lossCount === 0 && lossWallMs !== null) throw new Error('a loss is on record that was none');
  if (values.missing + guest.lossesTold > 0 && lossWallMs === null) {
    throw new Error(`a loss is not on record: ${values.missing} sectors are older than acknowledged`);
  }
  await guest.closed();
  await cluster.stopIo();
  await cluster.compareReplicas(values);
}

function fork(random: Random): Random {
  return seededRandom(random.below(2 ** 31));
}

function lastWords(cluster: TortureCluster): string {
  return cluster.servers.map((server) => `--- ${server.name}\n${server.lastWords()}`).join('\n');
}
