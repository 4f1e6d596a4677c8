import type { Extent } from '../block/device.js';
import { asRawstorError, type RawstorError } from '../common/errors.js';
import { LIMITS } from '../common/limits.js';
import type { Member } from './member.js';
import { chunkOf, pieceLength } from './slicing.js';
import type { VolumeState } from './volume-state.js';

const RETRIES = 20;

/** A run of one state: whether it is a hole, or how deep it lies. */
export interface StateRun {
  lengthBytes: number;
  readonly state: number;
}

/** A range of one chunk. */
export interface ChunkRange {
  readonly chunk: number;
  readonly offset: number;
  readonly length: number;
}

/**
 * A map from `offset` to `end`, asked chunk by chunk: `runsOf` gives flat pairs of length and state, as OSTs do. Equal neighbours are
 * merged; it may end early.
 */
export async function chunkMap(
  offset: number,
  end: number,
  chunkSizeBytes: number,
  runsOf: (range: ChunkRange) => Promise<readonly number[]>,
): Promise<StateRun[]> {
  const list: StateRun[] = [];
  for (let at = offset; at < end && list.length < LIMITS.extentsPerAnswer; ) {
    const length = pieceLength(at, end - at, chunkSizeBytes, chunkSizeBytes);
    const runs = await runsOf({ chunk: chunkOf(at, chunkSizeBytes), offset: at % chunkSizeBytes, length });
    const told = add(list, runs);
    if (told === 0) break;
    at += told;
  }
  return list;
}

/** @returns the bytes that the runs tell of */
function add(list: StateRun[], runs: readonly number[]): number {
  let bytes = 0;
  for (let i = 0; i + 1 < runs.length; i += 2) {
    const [lengthBytes, state] = [runs[i]!, runs[i + 1]!];
    const last = list.at(-1);
    if (last !== undefined && last.state === state) last.lengthBytes += lengthBytes;
    else list.push({ lengthBytes, state });
    bytes += lengthBytes;
  }
  return bytes;
}

/** Runs of holes and data as `ost.extents` tells of them. */
export function extentsOf(runs: readonly StateRun[]): Extent[] {
  return runs.map(({ lengthBytes, state }) => ({ lengthBytes, hole: state === 1, zero: state === 1 }));
}

/** Allocation map of a range, from one in-sync member for each chunk. */
export async function readExtents(state: VolumeState, offset: number, length: number): Promise<Extent[]> {
  const { sizeBytes, chunkSizeBytes } = state.object;
  const end = Math.min(offset + length, sizeBytes);
  const ask = async ({ peer, handle, headVersion: chunkVersion }: Member, range: ChunkRange) =>
    (await peer!.call('ost.extents', { handle, chunkVersion, ...range })).runs;
  // "All data" is always true, only less useful.
  const runsOf = (range: ChunkRange) => askInSync(state, range, ask, 0);
  return extentsOf(await chunkMap(offset, end, chunkSizeBytes, runsOf));
}

/**
 * Asks a member in sync about a range, another one where that fails. `unknown` is the state that is always true, for when none can say.
 * @throws RawstorError what `judge` makes of a failure, or the last one
 */
export async function askInSync(
  state: VolumeState,
  range: ChunkRange,
  ask: (member: Member, range: ChunkRange) => Promise<number[]>,
  unknown: number,
  judge: (error: RawstorError) => void = () => {},
): Promise<number[]> {
  for (let attempt = 0; ; attempt++) {
    // A hole of one replica may be another's data.
    if (state.differs(range)) return [range.length, unknown];
    const attached = state.placement(range.chunk).filter((member) => member.readable);
    const member = attached.find((one) => one.peer?.local) ?? attached[0];
    if (member?.peer != null) {
      try {
        const runs = await ask(member, range);
        // Given up meanwhile, it may not know the latest.
        if (member.readable && !state.differs(range)) return runs;
      } catch (error) {
        const failure = asRawstorError(error);
        judge(failure);
        if (attempt >= RETRIES) throw failure;
      }
    }
    if (attempt >= RETRIES) return [range.length, unknown];
    await state.env.clock.sleep(100);
  }
}
