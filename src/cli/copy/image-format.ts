import { closeSync, fstatSync, openSync, readFileSync, readSync, realpathSync } from 'node:fs';
import { basename } from 'node:path';
import { asRawstorError, RawstorError } from '../../common/errors.js';
import { MAGIC as DIFFERENCE_MAGIC } from '../difference/format.js';
import { HEAD_BYTES } from './named-files.js';

/** What `export --since` writes: no image. */
export const DIFFERENCE = 'difference';

/** First bytes of formats, so that nothing is guessed from contents a guest wrote at other places. */
const MAGIC: readonly (readonly [string, number, Buffer])[] = [
  ['qcow', 0, Buffer.from('QFI\xfb\0\0\0\x01', 'latin1')],
  ['qcow2', 0, Buffer.from('QFI\xfb\0\0\0', 'latin1')],
  ['qed', 0, Buffer.from('QED\0', 'latin1')],
  ['vmdk', 0, Buffer.from('KDMV', 'latin1')],
  ['vmdk', 0, Buffer.from('COWD', 'latin1')],
  ['vmdk', 0, Buffer.from('# Disk Descriptor', 'latin1')],
  ['vhdx', 0, Buffer.from('vhdxfile', 'latin1')],
  ['vpc', 0, Buffer.from('conectix', 'latin1')],
  [DIFFERENCE, 0, DIFFERENCE_MAGIC],
  ['vdi', 0x40, Buffer.from([0x7f, 0x10, 0xda, 0xbe])],
];

export interface ImageFacts {
  /** As its content begins. */
  readonly format: string;
  /** Of the file; for raw images also of the disk. */
  readonly sizeBytes: number;
  /** A block device. */
  readonly isDisk: boolean;
  /** Its first bytes, as far as they tell which other files it names. */
  readonly head: Buffer;
}

/** @throws RawstorError NOT_FOUND, DENIED, USAGE when it is a directory */
export function inspectImage(path: string): ImageFacts {
  let fd: number;
  try {
    fd = openSync(path, 'r');
  } catch (error) {
    throw asRawstorError(error, path);
  }
  try {
    const stat = fstatSync(fd);
    if (!stat.isFile() && !stat.isBlockDevice()) {
      throw new RawstorError('USAGE', 'this is neither a file nor a disk', { where: path });
    }
    const space = Buffer.alloc(HEAD_BYTES);
    const head = space.subarray(0, readSync(fd, space, 0, space.length, 0));
    const isDisk = stat.isBlockDevice();
    return { format: formatOf(head), sizeBytes: isDisk ? diskSizeBytes(path) : stat.size, isDisk, head };
  } finally {
    closeSync(fd);
  }
}

export function formatOf(head: Buffer): string {
  for (const [format, at, magic] of MAGIC) {
    if (head.subarray(at, at + magic.length).equals(magic)) return format;
  }
  return 'raw';
}

/** @throws RawstorError USAGE */
export function checkNoDifference(format: string, where: string): void {
  if (format !== DIFFERENCE) return;
  throw new RawstorError('USAGE', 'this is no image, but what changed between two snapshots', {
    where,
    hint: 'it is what `export --since` wrote: add --apply; a raw disk that just looks so: --format raw',
  });
}

function diskSizeBytes(path: string): number {
  const sectors = readFileSync(`/sys/class/block/${basename(realpathSync(path))}/size`, 'utf8');
  return Number(sectors) * 512;
}
