import { closeSync, openSync, readSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import type { Volume } from '../../../src/client/index.js';
import { MiB } from '../../../src/common/units.js';
import type { OstPeer } from '../../../src/protocol/index.js';
import { type ClientRig, flush, until, write } from './rig.js';

/** Volumes with checksums, and bits that change in the chunk files of real OSTs. */

export const BLOCK = 4096;

export interface Replica {
  readonly ostId: string;
  readonly peer: OstPeer;
  readonly file: string;
}

export interface Protected {
  readonly volume: Volume;
  readonly copies: Replica[];
}

/** A volume of which the first blocks are written, sealed, and have checksums on every replica. */
export async function protectedVolume(rig: ClientRig, replicas: number): Promise<Protected> {
  await rig.create('v', { replicas });
  const cluster = await rig.connect('writer', { seals: { idleMs: 300 } });
  const volume = await cluster.openVolume('v', { mode: 'write' });
  for (let block = 0; block < 8; block++) await write(volume, block * BLOCK, 0x10 + block);
  await flush(volume);
  await until(() => volume.object.lastSeal >= volume.object.epoch - 1);
  const copies: Replica[] = [];
  for (const { ostId } of volume.object.members) {
    const peer = await rig.watched.get(ostId)!.connect('', [], 0);
    const file = join(rig.chunksOf(ostId, volume.object.id), '0.1');
    copies.push({ ostId, peer, file });
    // Before it is told of the seal nothing has checksums.
    await until(async () => (await scrub(peer)).unsealedRegions === 0);
  }
  return { volume, copies };
}

export async function scrub(peer: OstPeer) {
  await peer.call('ost.scrub', { objectId: null, bytesPerSec: 64 * MiB });
  for (;;) {
    const { job } = await peer.call('ost.scrubStatus', {});
    if (job !== null && !job.running) return job;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

export function flip(file: string, offset: number): void {
  const fd = openSync(file, 'r+');
  const byte = Buffer.alloc(1);
  readSync(fd, byte, 0, 1, offset);
  byte[0]! ^= 0x04;
  writeSync(fd, byte, 0, 1, offset);
  closeSync(fd);
}

export const damaged = async ({ peer }: Replica) =>
  (await peer.call('ost.damage', { objectId: null })).blocks.length;
