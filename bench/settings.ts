import { statfs } from 'node:fs/promises';
import { type Kind, specOf } from './kinds.js';
import type { Plan } from './run-case.js';
import type { Case } from './types.js';

const GIB = 2 ** 30;
const MIB = 2 ** 20;
/** Left on the disk for everything else. */
const SPARE_BYTES = 8 * GIB;
/** Around a run: sync, start of the load, its warm-up. */
const OVERHEAD_SECONDS = 2;
/** What a fill with blocks of 4 KiB reaches on a modest machine, for the estimate. */
const FILL_BYTES_PER_SECOND = 100 * MIB;

export interface Settings extends Plan {
  dir: string;
  sizeBytes: number;
  /** What a reader of the report should know of the choice. */
  remarks: string[];
}

export interface Wishes {
  quick: boolean;
  dir: string;
  size: number | undefined;
  rounds: number | undefined;
  seconds: number | undefined;
}

/**
 * Ordinarily 1 GiB, which every page cache holds, so that the servers are compared and not the disk. replicated3: 16
 * GiB and a minute a random case, so that most blocks are met for the first time; less where the disk has no room
 * for all sides.
 */
export async function settingsOf(kind: Kind, sides: number, wishes: Wishes): Promise<Settings> {
  const spec = specOf(kind);
  const long = spec.long && !wishes.quick;
  const ordinary = wishes.quick ? 2 : 8;
  const remarks: string[] = [];
  let sizeBytes = (wishes.size ?? (wishes.quick ? 256 : long ? 16 * 1024 : 1024)) * MIB;
  const { bavail, bsize } = await statfs(wishes.dir);
  const roomBytes = Math.floor((bavail * bsize - SPARE_BYTES) / (sides * spec.copies) / GIB) * GIB;
  if (wishes.size === undefined && roomBytes < sizeBytes && roomBytes >= GIB) {
    remarks.push(`the disk has room for volumes of ${roomBytes / GIB} GiB only, not ${sizeBytes / GIB}`);
    sizeBytes = roomBytes;
  }
  return {
    dir: wishes.dir,
    rounds: wishes.rounds ?? (wishes.quick || long ? 3 : 5),
    seconds: {
      random: wishes.seconds ?? (long ? 60 : ordinary),
      sequential: wishes.seconds ?? ordinary,
    },
    sizeBytes,
    remarks,
  };
}

export function estimateMinutes(
  kind: Kind,
  sides: number,
  cases: readonly Case[],
  settings: Settings,
): number {
  const runs = cases.reduce((sum, one) => sum + settings.seconds[one.pattern] + OVERHEAD_SECONDS, 0);
  const fill = (settings.sizeBytes * specOf(kind).copies) / FILL_BYTES_PER_SECOND + 5;
  return Math.ceil((sides * (runs * settings.rounds + fill)) / 60);
}
