/** The client library: a cluster and its volumes as block devices. */

export { Connector } from '../protocol/connector.js';
export { RemotePeer } from '../protocol/remote-peer.js';
export { Cluster, type ClusterOptions } from './cluster.js';
export { ControlLink } from './control-link.js';
export type { CreatedVolume } from './create.js';
export { findMds } from './find-mds.js';
export type { OpenVolumeOptions } from './open.js';
export { type Patience, patiently } from './patience.js';
export { Keeper, type KeeperOptions } from './recovery/keeper.js';
export {
  needsRecovery,
  type RecoverOptions,
  type RecoverOutcome,
  recoverVolume,
} from './recovery/recover.js';
export type { MemberStatus, VolumeStatus } from './recovery/status.js';
export { SnapshotReader } from './snapshot/reader.js';
export { Volume } from './volume.js';
