/** The client library: a cluster and its volumes as block devices. */

export { Connector } from '../protocol/connector.js';
export { RemotePeer } from '../protocol/remote-peer.js';
export { Cluster, type ClusterOptions } from './cluster.js';
export { ControlLink } from './control-link.js';
export type { CreatedVolume } from './create.js';
export { findMds } from './find-mds.js';
export { type MovableOptions, MovableVolume } from './hand-over/index.js';
export * from './immutable/index.js';
export {
  BucketKeys,
  type KeyPlace,
  KeyRing,
  newBucketEncryption,
  newEncryption,
  readSecret,
  unwrap,
  wrap,
  wrapBucketKey,
} from './keys/index.js';
export { checkMark, marksOf } from './layers.js';
export type { OpenVolumeOptions } from './open-options.js';
export { type Patience, patiently } from './patience.js';
export { type LockHolder, RangeLocks } from './range-locks.js';
export { Keeper, type KeeperOptions } from './recovery/keeper.js';
export {
  needsRecovery,
  type RecoverOptions,
  type RecoverOutcome,
  recoverVolume,
} from './recovery/recover.js';
export type { MemberStatus, VolumeStatus } from './recovery/status.js';
export { HeadReader } from './snapshot/head.js';
export { SnapshotReader } from './snapshot/reader.js';
export { Volume } from './volume.js';
