import type { ObjectInfo } from '../protocol/index.js';
import { copiedText, shortId, type VolumeHealth, volumeHealth } from './volumes.js';

/** How a volume is, for `rawstor status`. */

export interface VolumeRow {
  name: string;
  health: VolumeHealth;
  replicas: number;
  /** OSTs that have something of it: more than replicas where it is striped. */
  members: number;
  inSync: number;
  mode: ObjectInfo['mode'];
  /** What is being copied or moved, for people. */
  doing: string;
}

export function rowOf(volume: ObjectInfo, alive: (ostId: string) => boolean): VolumeRow {
  const inSync = volume.members.filter((m) => m.state === 'in-sync' && alive(m.ostId)).length;
  const { name, replicas, mode } = volume;
  const members = volume.members.length;
  const health = volumeHealth(volume, alive);
  return { name, health, replicas, members, inSync, mode, doing: doingOf(volume) };
}

/** Beside a count of volumes: objects of S3 are none. */
export function unwellText(unwell: readonly Pick<VolumeRow, 'mode'>[]): string {
  const volumes = unwell.filter(({ mode }) => mode === 'mutable').length;
  const others = unwell.length - volumes;
  return `${volumes} not well${others === 0 ? '' : `, ${others} S3 objects not well`}`;
}

function doingOf(volume: ObjectInfo): string {
  const { wanted, recovery, lease, members } = volume;
  const copies = recovery.map(({ ostId }) => `${shortId(ostId)}${copiedText(volume, ostId)}`);
  if (wanted !== null) {
    const move = `${wanted.from === null ? '' : shortId(wanted.from)} to ${shortId(wanted.to)}`;
    const told = recovery.some(({ ostId }) => ostId === wanted.to) || lease !== null;
    return [`move ${move}${told ? '' : ', when it is opened'}`, ...copies].join('; ');
  }
  const waits = lease === null && members.some(({ state }) => state === 'stale');
  return copies.length === 0 && waits ? 'resync, when it is opened' : copies.join('; ');
}
