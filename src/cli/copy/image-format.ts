import { closeSync, fstatSync, openSync, readFileSync, readSync, realpathSync } from 'node:fs';
import { basename } from 'node:path';
import { asRawstorError, RawstorError } from '../../common/errors.js';

/** First bytes of formats, so that nothing is guessed from contents a guest wrote at other places. */
const MAGIC: readonly (readonly [string, number, Buffer])[] = [
  ['qcow2', 0, Buffer.from('QFI\xfb\0\0\0', 'latin1')],
  ['qed', 0, Buffer.from('QED\0', 'latin1')],
  ['vmdk', 0, Buffer.from('KDMV', 'latin1')],
  ['vmdk', 0, Buffer.from('# Disk Descriptor', 'latin1')],
  ['vhdx', 0, Buffer.from('vhdxfile', 'latin1')],
  ['vpc', 0, Buffer.from('conectix', 'latin1')],
  ['vdi', 0x40, Buffer.from([0x7f, 0x10, 0xda, 0xbe])],
];

export interface ImageFacts {
  readonly format: string;
  /** Of the file; for raw images also of the disk. */
  readonly sizeBytes: number;
  /** A block device. */
  readonly isDisk: boolean;
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
    const head = Buffer.alloc(4096);
    readSync(fd, head, 0, head.length, 0);
    const isDisk = stat.isBlockDevice();
    return { format: formatOf(head), sizeBytes: isDisk ? diskSizeBytes(path) : stat.size, isDisk };
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

function diskSizeBytes(path: string): number {
  const sectors = readFileSync(`/sys/class/block/${basename(realpathSync(path))}/size`, 'utf8');
  return Number(sectors) * 512;
}
