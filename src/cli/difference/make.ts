import type { Writable } from 'node:stream';
import type { Mark } from '../../block/index.js';
import type { ObjectInfo } from '../../protocol/index.js';
import { changedPieces, type LayeredDevice, type ReadOptions, readInOrder } from '../copy/device-pieces.js';
import { writeTo } from '../copy/export-raw.js';
import { zeroRuns } from '../copy/zero-runs.js';
import type { NamedSnapshot } from '../snapshots.js';
import { DifferenceEncoder, type DifferenceTotals } from './encoder.js';
import type { DifferenceHead, SnapshotIdentity } from './format.js';

export interface MakeOptions extends ReadOptions {
  /** Where in the volume it is. */
  onProgress(offset: number): void;
}

/** What a snapshot is wherever there is a copy of it. */
export function identityOf(volumeId: string, snapshot: NamedSnapshot): SnapshotIdentity {
  const { version, name, sizeBytes, createdWallMs, origin } = snapshot;
  return { ...(origin ?? { objectId: volumeId, version }), name, sizeBytes, createdWallMs };
}

export function headOf(
  volume: ObjectInfo,
  from: NamedSnapshot,
  to: NamedSnapshot,
  createdWallMs: number,
): DifferenceHead {
  return {
    volume: volume.name,
    volumeId: volume.id,
    from: identityOf(volume.id, from),
    to: identityOf(volume.id, to),
    createdWallMs,
  };
}

/** What is in the stream already. */
export interface BegunDifference {
  readonly encoder: DifferenceEncoder;
  /** In the volume: everything before is told. */
  readonly fromOffset: number;
}

/** Writes what changed to a device, a snapshot, since an older one. @throws RawstorError NOT_FOUND when that goes meanwhile */
export async function makeDifference(
  device: LayeredDevice,
  since: Mark,
  head: DifferenceHead,
  stream: Writable,
  options: MakeOptions,
  begun?: BegunDifference,
): Promise<DifferenceTotals> {
  const encoder = begun?.encoder ?? new DifferenceEncoder();
  const write = async (buffers: readonly Buffer[]) => {
    for (const bytes of buffers) await writeTo(stream, bytes, options.signal);
  };
  if (begun === undefined) await write(encoder.begin(head));
  const pieces = changedPieces(device, since, begun?.fromOffset);
  await readInOrder(device, pieces, options, async ({ offset, length, zero }, lane) => {
    if (zero) await write(encoder.zero(offset, length));
    else {
      for (const run of zeroRuns(lane.bytes(0, length))) {
        const [at, bytes] = [offset + run.from, run.to - run.from];
        await write(run.zero ? encoder.zero(at, bytes) : encoder.data(at, lane.bytes(run.from, run.to)));
      }
    }
    options.onProgress(offset + length);
  });
  await write(encoder.end());
  return encoder.totals;
}
