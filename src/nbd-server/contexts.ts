import type { BlockDevice, Extent, LayerRun, Mark } from '../block/device.js';
import { ExtentFlag, NBD_LIMITS } from './constants.js';

/**
 * Metadata contexts: what BLOCK_STATUS can be asked about. `base:allocation` is of the protocol; `qemu:allocation-depth` and
 * `qemu:dirty-bitmap:NAME` are as QEMU's documentation of its namespace has them, NAME a snapshot that the export lies over.
 */

export const BASE_ALLOCATION = 'base:allocation';
const QEMU = 'qemu:';
const ALLOCATION_DEPTH = `${QEMU}allocation-depth`;
const DIRTY_BITMAP = `${QEMU}dirty-bitmap:`;

/** Of a dirty bitmap. */
const DIRTY = 1;

/** One run of a context, as it is sent. */
export interface StatusRun {
  lengthBytes: number;
  flags: number;
}

export interface MetaContext {
  /** Any nonzero number would do, each once in a connection: clients treat it as opaque. */
  readonly id: number;
  readonly name: string;
  /** What is true where nothing is known: data, changed. */
  readonly unknownFlags: number;
  runs(device: BlockDevice, offset: number, length: number): Promise<StatusRun[]>;
}

/** What the handshake has to know of an export. `marks`: null where it has no layers to tell of. */
export interface ContextFacts {
  readonly marks?: readonly Mark[] | null;
}

/** Every context that an export has. */
export function contextsOf({ marks }: ContextFacts): MetaContext[] {
  const contexts: Omit<MetaContext, 'id'>[] = [ALLOCATION];
  if (marks) contexts.push(DEPTH, ...marks.map(dirtySince));
  return contexts.map((context, i) => ({ ...context, id: i + 1 }));
}

/**
 * Those of an export that queries name, each once. Where they are only listed, no query stands for all, and `base:`, `qemu:` and
 * `qemu:dirty-bitmap:` for all that begin so. What is not known is passed over.
 */
export function chosenContexts(
  all: readonly MetaContext[],
  queries: readonly string[],
  listing: boolean,
): MetaContext[] {
  if (listing && queries.length === 0) return [...all];
  const asked = new Set(queries);
  const prefixes = listing ? ['base:', QEMU, DIRTY_BITMAP].filter((one) => asked.has(one)) : [];
  return all.filter(({ name }) => asked.has(name) || prefixes.some((one) => name.startsWith(one)));
}

/** Each of the contexts of a connection has a part of an answer's room. */
export function runsEach(contexts: number, runsMax: number): number {
  return Math.max(1, Math.floor(runsMax / contexts));
}

export function tooManyContexts(count: number): string | null {
  const max = NBD_LIMITS.contextsPerConnection;
  return count > max ? `at most ${max} metadata contexts a connection` : null;
}

/** Flags of `base:allocation`. */
export function allocationRuns(extents: readonly Extent[]): StatusRun[] {
  return extents.map(({ lengthBytes, hole, zero }) => ({
    lengthBytes,
    flags: (hole ? ExtentFlag.HOLE : 0) | (zero ? ExtentFlag.ZERO : 0),
  }));
}

const ALLOCATION: Omit<MetaContext, 'id'> = {
  name: BASE_ALLOCATION,
  unknownFlags: 0,
  runs: async (device, offset, length) => allocationRuns(await device.extents(offset, length)),
};

const DEPTH: Omit<MetaContext, 'id'> = {
  name: ALLOCATION_DEPTH,
  unknownFlags: 1,
  runs: async (device, offset, length) =>
    (await layers(device, null, offset, length)).map(({ lengthBytes, depth }) => ({
      lengthBytes,
      flags: depth,
    })),
};

function dirtySince(mark: Mark): Omit<MetaContext, 'id'> {
  return {
    name: `${DIRTY_BITMAP}${mark.name}`,
    unknownFlags: DIRTY,
    runs: async (device, offset, length) =>
      (await layers(device, mark, offset, length)).map(({ lengthBytes, depth }) => ({
        lengthBytes,
        flags: depth === 0 ? 0 : DIRTY,
      })),
  };
}

async function layers(
  device: BlockDevice,
  since: Mark | null,
  offset: number,
  length: number,
): Promise<LayerRun[]> {
  return (await device.layers?.(since, offset, length)) ?? [];
}
