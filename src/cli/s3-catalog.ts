import { BucketKeys, type Cluster, ImmutableStore, KeyRing } from '../client/index.js';
import type { Clock } from '../common/clock.js';
import { RawstorError } from '../common/errors.js';
import type { Logger } from '../common/log.js';
import type { Io } from '../io/index.js';
import { AccessKeys, Buckets, Codings, Objects, S3Error } from '../s3-lite/index.js';
import type { Context } from './context.js';

export interface S3Catalog {
  readonly cluster: Cluster;
  readonly store: ImmutableStore;
  readonly buckets: Buckets;
  readonly objects: Objects;
  readonly keys: AccessKeys;
  readonly codings: Codings;
}

/** For verbs that work on buckets and keys without a gateway. What S3 refuses becomes an error for people. */
export async function withS3<T>(context: Context, work: (catalog: S3Catalog) => Promise<T>): Promise<T> {
  const cluster = await context.cluster();
  return withS3Of(
    cluster,
    { io: context.io(), clock: context.clock, log: context.log, keys: context.keys },
    work,
  );
}

export async function withS3Of<T>(
  cluster: Cluster,
  env: { io: Io; clock: Clock; log: Logger; keys?: KeyRing },
  work: (catalog: S3Catalog) => Promise<T>,
): Promise<T> {
  const layout = { replicas: 1, minReplicas: 1, stripeWidth: 1, failureDomain: 'ost', near: null };
  const store = new ImmutableStore({ ...env, cluster, layout });
  const buckets = new Buckets(store.catalog);
  try {
    const objects = new Objects(store, buckets, env.clock);
    const codings = new Codings(new BucketKeys(env.keys ?? new KeyRing([])));
    return await work({ cluster, store, buckets, objects, keys: new AccessKeys(store.catalog), codings });
  } catch (error) {
    throw error instanceof S3Error ? forPeople(error) : error;
  } finally {
    await store.close();
  }
}

function forPeople(error: S3Error): RawstorError {
  const code =
    error.status === 404
      ? 'NOT_FOUND'
      : error.status === 403
        ? 'DENIED'
        : error.status === 409
          ? 'BUSY'
          : 'INVALID';
  const where = Object.values(error.details).join(', ');
  return new RawstorError(code, error.message, { where: where === '' ? error.code : where });
}

/** `s3://BUCKET/KEY`. @throws RawstorError USAGE */
export function s3Url(text: string): { bucket: string; key: string } {
  const found = /^s3:\/\/([^/]+)\/(.+)$/.exec(text);
  if (found !== null) return { bucket: found[1]!, key: found[2]! };
  throw new RawstorError('USAGE', `'${text}' names no object`, { hint: 'write s3://BUCKET/KEY' });
}
