import type { RunningS3, StartS3Options } from './start.js';

export { AccessKeys } from './access-keys.js';
export { Buckets } from './buckets.js';
export { Codings } from './codings.js';
export { S3Error } from './errors.js';
export { S3_LIMITS } from './limits.js';
export { checkKey, keyOfRow, ROW } from './names.js';
export { Objects } from './objects.js';
export { type AccessRow, type BucketRow, type ObjectRow, RIGHTS, type Right } from './rows.js';
export type { RunningS3 } from './start.js';

/**
 * A gateway: S3 over the cluster's immutable objects. Its HTTP side is loaded when it is served: whoever only looks at
 * buckets and keys starts faster without it. @throws RawstorError
 */
export async function startS3(options: StartS3Options): Promise<RunningS3> {
  return (await import('./start.js')).startS3(options);
}
