/** Keys of encrypted volumes and buckets: docs/encryption.md. */
export { BucketKeys, newBucketEncryption, wrapBucketKey } from './bucket-keys.js';
export { type Contents, contentsOf } from './contents.js';
export { type KeyPlace, KeyRing, readSecret } from './ring.js';
export { newEncryption, type Secret, unwrap, wrap } from './wrap.js';
