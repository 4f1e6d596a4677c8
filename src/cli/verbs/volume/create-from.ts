import { type BlockDevice, BlockOp } from '../../../block/index.js';
import { RawstorError } from '../../../common/errors.js';
import { LIMITS } from '../../../common/limits.js';
import { formatSizeBytes, MiB } from '../../../common/units.js';
import type { CreateSpec, ObjectInfo } from '../../../protocol/index.js';
import type { ObjectRow } from '../../../s3-lite/index.js';
import type { Context } from '../../context.js';
import { flushAsGuest } from '../../copy/guest-flush.js';
import { Lane } from '../../copy/lane.js';
import { makeWhole } from '../../copy/partial-volume.js';
import { checkVolumeSize } from '../../options.js';
import { type S3Catalog, s3Url, withS3 } from '../../s3-catalog.js';
import { findSnapshot } from '../../snapshots.js';
import { makeVolume } from '../../volumes.js';
import { createSpec, type LayoutOptions } from './create.js';
import { checkUnused, cloned, type Parent } from './create-clone.js';

/**
 * A volume that begins as an object of S3 or a snapshot: over it where that lies in one piece, else copied.
 * @param sizeBytes undefined: as the source
 * @throws RawstorError NOT_FOUND, EXISTS, INVALID, USAGE
 */
export function createFrom(
  context: Context,
  name: string,
  from: string,
  sizeBytes: number | undefined,
  layout: EncryptedLayout,
): Promise<ObjectInfo> {
  if (sizeBytes !== undefined) checkVolumeSize(sizeBytes, '--size');
  return withS3(context, async (catalog) => {
    const source = from.startsWith('s3://')
      ? await objectSource(catalog, from)
      : await snapshotSource(context, from);
    if (sizeBytes !== undefined && sizeBytes < source.sizeBytes) {
      throw new RawstorError('USAGE', `${from} has ${formatSizeBytes(source.sizeBytes)}`, {
        where: '--size',
        hint: 'a volume that is made of it is not smaller: leave --size out',
      });
    }
    checkEncryption(from, name, source, layout);
    return source.parent === null || layout.encryption !== undefined
      ? await copied(context, catalog, name, source, sizeBytes, layout)
      : await cloned(context, catalog.cluster, { name, from, sizeBytes, layout, parent: source.parent });
  });
}

interface Source {
  readonly sizeBytes: number;
  readonly parent: Parent | null;
  readonly row: ObjectRow | null;
  readonly encrypted: boolean;
  readonly key: Buffer | null;
}

type EncryptedLayout = LayoutOptions & Pick<CreateSpec, 'encryption'>;

/** @throws RawstorError INVALID, NOT_SUPPORTED */
function checkEncryption(from: string, name: string, source: Source, { encryption }: EncryptedLayout): void {
  if (encryption === undefined || source.row !== null) return;
  if (source.encrypted) {
    throw new RawstorError('INVALID', 'a clone of an encrypted volume has the key of that', {
      where: from,
      hint: 'leave --encrypt out; `rawstor-volume key change` wraps the key of the clone anew',
    });
  }
  throw new RawstorError('NOT_SUPPORTED', 'a clone of a volume that is not encrypted is not either', {
    where: from,
    hint: `copy it: export it to a file, then rawstor-volume import FILE ${name} --encrypt`,
  });
}

async function snapshotSource(context: Context, from: string): Promise<Source> {
  const { volume, snapshot } = await findSnapshot(context, await context.cluster(), from);
  return {
    sizeBytes: snapshot.sizeBytes,
    parent: { object: volume, version: snapshot.version, sizeBytes: snapshot.sizeBytes },
    encrypted: volume.encryption !== undefined,
    row: null,
    key: null,
  };
}

async function objectSource(catalog: S3Catalog, from: string): Promise<Source> {
  const { cluster, store, buckets, objects, codings } = catalog;
  const { bucket, key: name } = s3Url(from);
  const { value: owner } = await buckets.get(bucket);
  const row = await objects.get(bucket, name);
  const key = await codings.keyOf(owner, row);
  const { sizeBytes, extents } = row;
  if (sizeBytes === 0)
    throw new RawstorError('INVALID', 'the object is empty: there is no disk in it', { where: from });
  for await (const start of store.readRange({ ...row, name: from }, key, 0, Math.min(4, sizeBytes))) {
    if (start.toString('latin1') !== 'QFI\xfb') continue;
    throw new RawstorError('INVALID', 'the object is a qcow2 image, a raw one is wanted', {
      where: from,
      hint: 'fetch it and use `rawstor-volume import`, or `qemu-img convert -O raw` it before the upload',
    });
  }
  const [first] = extents;
  const source = { sizeBytes, parent: null, row, encrypted: false, key };
  if (row.coding != null || extents.length !== 1 || first!.offset !== 0) return source;
  const object = await cluster.mds.call('mds.getObj', { ref: first!.objectId });
  const frozen = object.snapshots.find((one) => one.version === first!.version && one.name !== null);
  const whole = frozen !== undefined && frozen.sizeBytes - sizeBytes < LIMITS.blockBytes;
  if (!whole) return source;
  return { ...source, parent: { object, version: frozen.version, sizeBytes: frozen.sizeBytes } };
}

async function copied(
  context: Context,
  { cluster, store }: S3Catalog,
  name: string,
  source: Source,
  sizeBytes: number | undefined,
  layout: EncryptedLayout,
): Promise<ObjectInfo> {
  const content = source.row!;
  const wanted = Math.ceil(content.sizeBytes / LIMITS.blockBytes) * LIMITS.blockBytes;
  const { encryption } = layout;
  const spec = createSpec(name, sizeBytes ?? wanted, '--size', layout);
  await checkUnused(context, cluster, name);
  return makeWhole(context, cluster, {
    name,
    resume: false,
    checkLeft: () => {},
    sizeBytes: spec.sizeBytes,
    make: (partial) =>
      makeVolume(context, cluster, { ...spec, ...(encryption && { encryption }), name: partial }),
    async fill({ id }) {
      const progress = context.progress(`copy to ${name}`, content.sizeBytes);
      const device = await cluster.openVolume(id, { mode: 'write' });
      const lane = new Lane(context.io());
      try {
        let done = 0;
        for await (const piece of pieces(store.readWhole({ ...content, name }, source.key))) {
          await writePiece(device, lane, done, piece);
          done += piece.length;
          progress.update(done);
        }
        await flushAsGuest(context.io(), device, name);
      } finally {
        lane.release();
        progress.end();
        await device.close();
      }
    },
  });
}

/** The same content in pieces of 1 MiB, but for the last. */
async function* pieces(content: AsyncGenerator<Buffer, undefined>): AsyncGenerator<Buffer, undefined> {
  let [held, bytes]: [Buffer[], number] = [[], 0];
  for await (const part of content) {
    for (let at = 0; at < part.length; ) {
      const taken = part.subarray(at, at + MiB - bytes);
      held.push(taken);
      bytes += taken.length;
      at += taken.length;
      if (bytes < MiB) continue;
      yield Buffer.concat(held);
      [held, bytes] = [[], 0];
    }
  }
  if (bytes > 0) yield Buffer.concat(held);
}

async function writePiece(device: BlockDevice, lane: Lane, offset: number, bytes: Buffer): Promise<void> {
  if (bytes.every((byte) => byte === 0)) return;
  const whole = Math.ceil(bytes.length / LIMITS.sectorBytes) * LIMITS.sectorBytes;
  lane.bytes(0, whole).fill(0);
  lane.bytes(0, whole).set(bytes);
  await lane.device(device, BlockOp.WRITE, offset, whole);
}
