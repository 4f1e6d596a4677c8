import { RawstorError } from '../../common/errors.js';
import { KiB, MiB } from '../../common/units.js';

/** What the formats below need of an image to be looked at. */
export const HEAD_BYTES = 2 * MiB;

/** Formats that name no other file, whatever is in them, as QEMU reads them. */
const ALONE = ['raw', 'vdi', 'vhdx', 'vpc', 'parallels', 'dmg', 'bochs', 'cloop'];
/** Those that may, and where they do. */
const NAMING: Readonly<Record<string, (head: Buffer) => string[]>> = {
  qcow: (head) => backingOf(head, head.readBigUInt64BE(8), head.readUInt32BE(16)),
  qcow2: ofQcow2,
  qed: (head) => {
    const hasBacking = (head.readBigUInt64LE(16) & 1n) !== 0n;
    return hasBacking ? backingOf(head, BigInt(head.readUInt32LE(56)), head.readUInt32LE(60)) : [];
  },
  vmdk: ofVmdk,
};

export const FORMATS: readonly string[] = [...ALONE, ...Object.keys(NAMING)];

export const mayNameFiles = (format: string): boolean => format in NAMING;

/**
 * The other files that an image of this format would have QEMU read: its backing file, data file, extents. Told by the
 * image's first bytes, which are all that is read for it.
 */
export function namedFiles(format: string, head: Buffer): string[] {
  const padded = Buffer.concat([head, Buffer.alloc(Math.max(0, 4 * KiB - head.length))]);
  return NAMING[format]?.(padded) ?? [];
}

/**
 * Refuses an image that would have the content of other files copied, whoever made it: any that this user may read.
 * @throws RawstorError DENIED
 */
export function checkAlone(path: string, format: string, head: Buffer): void {
  const named = namedFiles(format, head);
  if (named.length === 0) return;
  const files = named
    .map((name) => (name === '' ? 'one without a name' : JSON.stringify(name.slice(0, 200))))
    .join(', ');
  throw new RawstorError('DENIED', `this ${format} image is read together with other files: ${files}`, {
    where: path,
    hint: 'with --backing they are read too, if you trust who made the image; --format raw takes its bytes as they are',
  });
}

const IMAGE_NAME_MAX = 1023;

function backingOf(head: Buffer, offset: bigint, length: number): string[] {
  if (offset === 0n || length === 0) return [];
  const at = Number(offset);
  // QEMU has it in the first cluster. What lies elsewhere is a name all the same.
  return [head.subarray(at, at + Math.min(length, IMAGE_NAME_MAX)).toString('latin1')];
}

const QCOW2_DATA_FILE = 1n << 2n;
const QCOW2_DATA_FILE_NAME = 0x44415441;

function ofQcow2(head: Buffer): string[] {
  const named = backingOf(head, head.readBigUInt64BE(8), head.readUInt32BE(16));
  if (head.readUInt32BE(4) < 3 || (head.readBigUInt64BE(72) & QCOW2_DATA_FILE) === 0n) return named;
  return [...named, extensionOf(head, QCOW2_DATA_FILE_NAME) ?? ''];
}

/** Text of a header extension of a qcow2 image. */
function extensionOf(head: Buffer, wanted: number): string | null {
  for (let at = head.readUInt32BE(100); at + 8 <= head.length; ) {
    const type = head.readUInt32BE(at);
    const length = head.readUInt32BE(at + 4);
    if (type === wanted) return head.subarray(at + 8, at + 8 + length).toString('latin1');
    if (type === 0) return null;
    at += 8 + Math.ceil(length / 8) * 8;
  }
  return null;
}

const VMDK_DESCRIPTOR_BYTES = 20 * 512;
const VMDK_DESCRIPTOR_AT = 0x200;
const VMDK_PARENT = 'parentFileNameHint';

function ofVmdk(head: Buffer): string[] {
  const magic = head.toString('latin1', 0, 4);
  // A text: what it describes is elsewhere.
  if (magic !== 'KDMV' && magic !== 'COWD') return described(head, 0);
  const parents = parentOf(head, VMDK_DESCRIPTOR_AT);
  // Without a capacity of its own QEMU goes by the text in it, as if it were a file of its own.
  const textAt = magic === 'KDMV' && head.readBigUInt64LE(12) === 0n ? head.readBigUInt64LE(28) : 0n;
  return textAt === 0n ? parents : [...parents, ...described(head, Number(textAt) * 512)];
}

/** QEMU takes the first that is there, whatever comes after it. */
function parentOf(head: Buffer, at: number): string[] {
  const text = head.toString('latin1', at, at + VMDK_DESCRIPTOR_BYTES);
  const key = text.indexOf(VMDK_PARENT);
  if (key < 0) return [];
  // Two characters later, which it does not look at, to the next quote.
  const begin = key + VMDK_PARENT.length + 2;
  const end = text.indexOf('"', begin);
  return end === begin ? [] : [end < 0 ? '' : text.slice(begin, end)];
}

/** A descriptor is never alone: it is also read where it says nothing here, and further than is looked at here. */
function described(head: Buffer, at: number): string[] {
  const text = head.toString('latin1', at, at + VMDK_DESCRIPTOR_BYTES);
  const extents = [...text.matchAll(/^\s*(?:RW|RDONLY|NOACCESS)\s+\d+\s+\w+\s+"([^"]*)"/gm)];
  const named = [...parentOf(head, at), ...extents.map((extent) => extent[1]!)];
  return named.length > 0 ? named : [''];
}
