import { asRawstorError } from '../../src/common/errors.js';
import { type ObjectRecord, type OstPeer, snapshotsBelow } from '../../src/protocol/index.js';
import { CHUNK_BYTES, type Cluster } from './cluster.js';
import type { Guest } from './guest.js';
import type { Cut } from './oracle.js';
import type { OstNode } from './ost-node.js';

/** What one OST gives of each version, by block; a block that is not there is undefined. */
export type Contents = Map<number, (Buffer | undefined)[]>;

/** A session on an OST that reads one version. */
interface Asked {
  readonly peer: OstPeer;
  readonly handle: number;
  readonly version: number;
  /** Of the version. */
  readonly sizeBytes: number;
}

type Range = readonly [from: number, until: number];

const isIn = (ranges: readonly Range[], offset: number) =>
  ranges.some(([from, until]) => from <= offset && offset < until);

/** What an OST says has changed in a version since each snapshot that it lies over: no block that reads otherwise may be missing. */
export async function checkChanged(
  cluster: Cluster,
  object: ObjectRecord,
  { peer, handle, version, sizeBytes }: Asked,
  contents: Contents,
  node: OstNode,
): Promise<void> {
  const { world } = cluster;
  const now = contents.get(version)!;
  const of = version === object.headVersion ? 'head' : version;
  for (const { version: since, name } of snapshotsBelow(object, of)) {
    const then = contents.get(since)!;
    for (let chunk = 0; chunk * CHUNK_BYTES < sizeBytes; chunk++) {
      if (!cluster.holds(object, chunk, node)) continue;
      const end = Math.min(CHUNK_BYTES, sizeBytes - chunk * CHUNK_BYTES);
      const same: Range[] = [];
      for (let at = 0; at < end; ) {
        const asked = { handle, chunk, of: version, since, offset: at, length: end - at };
        const { runs } = await peer.call('ost.changed', asked);
        for (let i = 0; i < runs.length; i += 2) {
          if (runs[i + 1] === 0) same.push([at, at + runs[i]!]);
          at += runs[i]!;
        }
      }
      world.count('changedAsked');
      for (let block = 0; block < cluster.blockCount; block++) {
        if (!isIn(same, cluster.offsetOf(block) - chunk * CHUNK_BYTES)) continue;
        const [a, b] = [now[block], then[block]];
        if (a === undefined || b === undefined || a.equals(b)) continue;
        world.fail(`${node.name}: block ${block} of version ${version} is told as unchanged since ${name}`);
      }
    }
  }
}

/** As a guest's backup would ask, in the midst of everything: what it had acknowledged before is told as changed. */
export async function askChanged(
  cluster: Cluster,
  guest: Guest,
  cuts: ReadonlyMap<string, Cut>,
): Promise<void> {
  const { world, oracle } = cluster;
  const volume = guest.volume!;
  const marks = volume.marks();
  const mark = marks[Math.floor(marks.length / 2)];
  const cut = cuts.get(mark?.name ?? '');
  if (mark === undefined || cut === undefined) return;
  const before = oracle.beginCut();
  const same: Range[] = [];
  try {
    let at = 0;
    for (const { lengthBytes, depth } of await volume.layers(mark, 0, volume.sizeBytes)) {
      if (depth === 0) same.push([at, at + lengthBytes]);
      at += lengthBytes;
    }
  } catch (error) {
    const { code, message } = asRawstorError(error);
    world.count(`layers ${code}`);
    // A rollback meanwhile may have left it on another line.
    const liesBelow = volume.marks().some(({ version }) => version === mark.version);
    if (code === 'INTERNAL' || (code === 'INVALID' && liesBelow)) world.fail(`layers: ${message}`);
    return;
  }
  // What another one has written since is not this one's to know; what was lost may be as it was.
  if (guest.superseded || !guest.alive || guest.volume !== volume || before.losses !== oracle.losses) return;
  world.count('layersAsked');
  for (const block of oracle.surelyChanged(cut, before)) {
    if (!isIn(same, cluster.offsetOf(block))) continue;
    world.fail(`${guest.name}: block ${block} is told as unchanged since ${mark.name}`);
  }
}
