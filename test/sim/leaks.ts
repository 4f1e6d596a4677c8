import { everywhere } from '../../src/mds/objects.js';
import { idOfKey, RecordType } from '../../src/ost/record-codec.js';
import type { ObjectRecord } from '../../src/protocol/index.js';
import type { Cluster } from './cluster.js';
import { CHUNK_BYTES } from './cluster.js';
import { BLOCK } from './disk.js';
import type { OstNode } from './ost-node.js';

/** Records that are of a version of a chunk. */
const OF_VERSIONS: readonly number[] = [
  RecordType.CHUNK,
  RecordType.REGIONS,
  RecordType.SUMS,
  RecordType.ZEROS,
  RecordType.DAMAGE,
];
const OF_OBJECTS: readonly number[] = [RecordType.OBJECT, RecordType.SET, ...OF_VERSIONS];

/** What OSTs keep that no object at the MDS has a use for; each is told. */
export function findLeaks(cluster: Cluster): string[] {
  return cluster.osts.flatMap((node) => [...onNode(cluster, node)]);
}

function* onNode(cluster: Cluster, node: OstNode): Generator<string> {
  const { mds } = cluster;
  const known = new Map(mds.all().map((stored) => [stored.object.id, stored]));
  /** Null: nobody needs anything of it. */
  const recordOf = (id: string): ObjectRecord | 'left' | null => {
    const stored = known.get(id);
    // What it may be is known to nobody: it stays.
    if (stored === undefined) return mds.unknown.has(id) ? 'left' : null;
    if (everywhere(stored).includes(node.ostId)) return stored.object;
    // It has moved elsewhere, and a clone here lies over it.
    const needed = [...known.values()].some(
      ({ object, left }) =>
        object.parent?.objectId === id &&
        (object.parent.ostIds.includes(node.ostId) || left.includes(node.ostId)),
    );
    // As it was when it moved: nobody tells what has become of its versions since.
    return needed ? 'left' : null;
  };
  for (const key of node.disk.records.keys()) {
    const bytes = Buffer.from(key, 'hex');
    const type = bytes[0]!;
    if (!OF_OBJECTS.includes(type)) continue;
    const record = recordOf(idOfKey(bytes));
    const what = `${node.name}: record '${String.fromCharCode(type)}' of ${idOfKey(bytes)}`;
    if (record === 'left') continue;
    if (record === null) yield what;
    else if (OF_VERSIONS.includes(type) && !hasVersion(record, bytes.readUInt32BE(21))) {
      yield `${what}, version ${bytes.readUInt32BE(21)}`;
    }
  }
  for (const [path, file] of node.disk.files) {
    const [id, name] = path.split('/');
    const [chunk, version] = name!.split('.').map(Number);
    const record = recordOf(id!);
    if (record === 'left') continue;
    if (record === null || !hasVersion(record, version!)) {
      yield `${node.name}: file ${path}`;
      continue;
    }
    const end = sizeOf(record, version!) - chunk! * CHUNK_BYTES;
    for (const [block, content] of file.cached) {
      const behind = content.subarray(Math.max(0, Math.min(BLOCK, end - block * BLOCK)));
      if (behind.some((byte) => byte !== 0)) yield `${node.name}: behind the end in ${path}, block ${block}`;
    }
  }
}

const hasVersion = (record: ObjectRecord, version: number) =>
  version === record.headVersion || record.snapshots.some((one) => one.version === version);

/** With what a smaller size has cut off and nobody has erased yet: the record says so. */
const sizeOf = (record: ObjectRecord, version: number) =>
  version === record.headVersion
    ? Math.max(record.sizeBytes, record.tailBytes ?? 0)
    : record.snapshots.find((one) => one.version === version)!.sizeBytes;
