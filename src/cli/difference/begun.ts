import { createReadStream } from 'node:fs';
import { MiB } from '../../common/units.js';
import { DifferenceDecoder } from './decoder.js';
import { DifferenceEncoder } from './encoder.js';
import { type DifferenceHead, type SnapshotIdentity, sameSnapshot } from './format.js';
import type { BegunDifference } from './make.js';

/**
 * What can be gone on with of a difference stream in a file that was cut short: its whole records, each of which is checked.
 * @returns undefined where there is none of these two snapshots
 */
export async function begunDifference(
  path: string,
  head: DifferenceHead,
): Promise<BegunDifference | undefined> {
  const decoder = new DifferenceDecoder(path);
  const encoder = new DifferenceEncoder();
  let isSame = false;
  try {
    for await (const bytes of createReadStream(path, { highWaterMark: MiB })) {
      for (const item of decoder.push(bytes as Buffer)) {
        if (item.kind === 'head') isSame = isOf(item.head, head);
        if (item.kind === 'data') encoder.totals.dataBytes += item.bytes.length;
        if (item.kind === 'zero') encoder.totals.zeroBytes += item.length;
      }
    }
  } catch {
    // Its end may be damaged, as after a power loss: what is before has been checked.
  }
  if (!isSame) return undefined;
  for await (const bytes of createReadStream(path, { end: decoder.wholeBytes - 1, highWaterMark: MiB })) {
    encoder.adopt(bytes as Buffer);
  }
  encoder.totals.records = decoder.wholeRecords;
  encoder.totals.streamBytes = decoder.wholeBytes;
  return { encoder, fromOffset: decoder.wholeUntil };
}

function isOf(begun: DifferenceHead, { volumeId, from, to }: DifferenceHead): boolean {
  const same = (a: SnapshotIdentity, b: SnapshotIdentity) => sameSnapshot(a, b) && a.name === b.name;
  return begun.volumeId === volumeId && same(begun.from, from) && same(begun.to, to);
}
