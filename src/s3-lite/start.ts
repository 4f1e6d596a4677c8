import { BucketKeys, type Cluster, type ImmutableLayout, ImmutableStore, KeyRing } from '../client/index.js';
import type { Clock, Timer } from '../common/clock.js';
import type { Logger } from '../common/log.js';
import type { Io } from '../io/index.js';
import { AccessKeys } from './access-keys.js';
import { Buckets } from './buckets.js';
import { Codings } from './codings.js';
import { Completions } from './completions.js';
import { S3_LIMITS, type S3ServerLimits } from './limits.js';
import { Objects } from './objects.js';
import { type S3Listen, S3Server } from './server.js';
import { Uploads } from './uploads.js';

export interface StartS3Options {
  readonly cluster: Cluster;
  readonly io: Io;
  readonly clock: Clock;
  readonly log: Logger;
  readonly listen: readonly S3Listen[];
  /** Hosts below it name buckets; '' for none. */
  readonly domain: string;
  readonly region: string;
  readonly layout: ImmutableLayout;
  /** What opens encrypted buckets. */
  readonly keys?: KeyRing;
  /** Others than the usual ones. */
  readonly limits?: Partial<S3ServerLimits>;
}

export interface RunningS3 {
  readonly ports: readonly number[];
  readonly store: ImmutableStore;
  close(): Promise<void>;
}

const SWEEP_MS = 10 * 60_000;
/** A removal of a bucket that lasts longer has been cut short. */
const REMOVAL_MS = 60_000;

/** A gateway: S3 over the cluster's immutable objects. @throws RawstorError */
export async function startS3(options: StartS3Options): Promise<RunningS3> {
  const { clock, log, region, domain } = options;
  const store = new ImmutableStore(options);
  const buckets = new Buckets(store.catalog);
  const objects = new Objects(store, buckets, clock);
  const uploads = new Uploads(store, clock);
  const keys = new AccessKeys(store.catalog);
  const codings = new Codings(new BucketKeys(options.keys ?? new KeyRing([])));
  const completions = new Completions(clock);
  const services = { store, buckets, objects, uploads, completions, keys, codings, clock, log, region };
  const servers: S3Server[] = [];
  const ports: number[] = [];
  const sweep = async () => {
    try {
      await uploads.sweep();
      await buckets.sweep(clock.nowMs(), REMOVAL_MS);
    } catch (error) {
      log.debug({ reason: String(error) }, 'no sweep now');
    }
  };
  let timer: Timer | null = null;
  const close = async () => {
    timer?.cancel();
    await Promise.all(servers.map((server) => server.close()));
    await completions.close();
    await uploads.close();
    await store.close();
  };
  try {
    for (const listen of options.listen) {
      const server = new S3Server(services, domain, { ...S3_LIMITS, ...options.limits });
      servers.push(server);
      ports.push(await server.listen(listen));
    }
  } catch (error) {
    await close();
    throw error;
  }
  await store.keeper.watch();
  store.collector.watch();
  timer = clock.every(SWEEP_MS, () => void sweep());
  void sweep();
  return { ports, store, close };
}
