import type { Cluster } from '../client/index.js';
import { formatSizeBytes } from '../common/units.js';
import type { ObjectInfo } from '../protocol/index.js';
import type { Context } from './context.js';
import { factLines } from './output.js';
import type { NamedSnapshot } from './snapshots.js';
import type { VolumeHealth } from './volumes.js';

interface Found {
  readonly volume: ObjectInfo;
  readonly snapshot: NamedSnapshot;
  /** Of the volume: its copies are those of its snapshots. */
  readonly health: VolumeHealth;
}

/** Tells of one snapshot what `info` tells of a volume. @returns the exit code */
export async function snapshotInfo(
  context: Context,
  cluster: Cluster,
  { volume, snapshot, health }: Found,
): Promise<number> {
  const { timeout } = context.globals;
  const { children } = await cluster.mds.call('mds.children', { ref: volume.id }, timeout);
  const clones = children.filter((one) => one.version === snapshot.version).map((one) => one.name);
  const { version, over, sizeBytes, createdWallMs } = snapshot;
  const { chunkSizeBytes, replicas, members } = volume;
  const told = {
    name: `${volume.name}@${snapshot.name}`,
    volume: volume.name,
    id: volume.id,
    version,
    over,
    sizeBytes,
    createdWallMs,
    protected: snapshot.protected,
    clones,
    chunkSizeBytes,
    replicas,
    health,
    members,
  };
  context.output.one(told, () =>
    factLines([
      ['name', told.name],
      ['volume', `${volume.name}, ${volume.id}`],
      ['size', `${formatSizeBytes(sizeBytes)} (${sizeBytes} bytes)`],
      ['chunks', `${Math.ceil(sizeBytes / chunkSizeBytes)} of ${formatSizeBytes(chunkSizeBytes)}`],
      ['taken', new Date(createdWallMs).toISOString()],
      ['version', `${version}${over === 0 ? '' : `, over version ${over}`}`],
      ['protected', snapshot.protected ? 'yes' : 'no'],
      ['clones', clones.length === 0 ? 'none' : clones.join(' ')],
      ['health', `${health}, as its volume`],
    ]),
  );
  return 0;
}
