import { RawstorError } from '../../common/errors.js';
import { LIMITS } from '../../common/limits.js';
import { checkNoDifference, inspectImage } from './image-format.js';
import { checkAlone, FORMATS, mayNameFiles } from './named-files.js';
import { checkImage, headOf, type Image, isNbdUri, virtualSizeBytes } from './qemu-img.js';

/** A file's holes are known; a disk has none to tell; what a pipe will bring is known at its end. */
export type SourceKind = 'file' | 'disk' | 'nbd' | 'pipe';

/** Where a disk image comes from. */
export interface ImageSource {
  readonly kind: SourceKind;
  /** A path, an NBD URI, or `-`. */
  readonly path: string;
  readonly format: string;
  /** Other files that it names may be read. */
  readonly backing: boolean;
  /** Of the disk in it, in whole sectors; null of a pipe. */
  readonly sizeBytes: number | null;
  /** As it is: what the last sector of a raw image lacks is filled with zeros. */
  readonly imageBytes: number | null;
}

export const STANDARD_STREAM = '-';

export interface SourceOptions {
  /** As the user says; else it is told by the first bytes where that is safe. */
  readonly format?: string;
  /** Other files that it names may be read. */
  readonly backing: boolean;
}

/**
 * Who wrote an image may have been a guest: which other files of this machine are read for it is not for the image to
 * say, nor is a disk's format.
 * @throws RawstorError NOT_FOUND, DENIED where it names other files, USAGE, BAD_DATA when it is damaged or empty
 */
export async function inspectSource(
  path: string,
  { format, backing }: SourceOptions,
  signal: AbortSignal,
): Promise<ImageSource> {
  checkFormat(format);
  if (path === STANDARD_STREAM) return pipeSource(format);
  if (isNbdUri(path)) {
    const said = format ?? 'raw';
    if (!backing && mayNameFiles(said)) checkAlone(path, said, await headOf(path, signal));
    return await measured('nbd', { path, format: said, backing }, null, signal);
  }
  const { format: found, sizeBytes, isDisk, head } = inspectImage(path);
  if (format === undefined) {
    checkNoDifference(found, path);
    checkGuess(path, found, isDisk);
  }
  const settled = format ?? found;
  if (!backing) checkAlone(path, settled, head);
  return await measured(isDisk ? 'disk' : 'file', { path, format: settled, backing }, sizeBytes, signal);
}

/** @throws RawstorError USAGE */
function checkFormat(format: string | undefined): void {
  if (format === undefined || FORMATS.includes(format)) return;
  throw new RawstorError('USAGE', `unknown format '${format}'`, {
    where: '--format',
    hint: `one of ${FORMATS.join(', ')}; make one of them of others with qemu-img convert`,
  });
}

/**
 * What may well be a guest's own disk, by its name or its kind, is not taken for an image because its content begins
 * like one: the guest may have written that. @throws RawstorError USAGE
 */
function checkGuess(path: string, found: string, isDisk: boolean): void {
  if (found === 'raw' || !(isDisk || path.endsWith('.raw'))) return;
  const what = isDisk ? 'this disk' : 'this file, raw by its name,';
  throw new RawstorError('USAGE', `${what} begins like a ${found} image`, {
    where: path,
    hint: `say what it is: --format raw takes it as it is, --format ${found} takes the disk in the image`,
  });
}

function pipeSource(format = 'raw'): ImageSource {
  if (format !== 'raw') {
    throw new RawstorError('USAGE', `${format} cannot be read from a pipe`, {
      where: '--format',
      hint: 'save it to a file first; only raw images can be piped',
    });
  }
  if (process.stdin.isTTY) {
    throw new RawstorError('USAGE', 'a disk image does not come from a terminal', {
      hint: 'send it through a pipe, or name a file',
    });
  }
  return { kind: 'pipe', path: STANDARD_STREAM, format, backing: false, sizeBytes: null, imageBytes: null };
}

async function measured(
  kind: SourceKind,
  image: Image,
  rawBytes: number | null,
  signal: AbortSignal,
): Promise<ImageSource> {
  const { path, format } = image;
  const isPlain = format === 'raw' && rawBytes !== null;
  const imageBytes = isPlain ? rawBytes : await virtualSizeBytes(image, signal);
  if (format !== 'raw') await checkImage(image, signal);
  if (imageBytes === 0) throw new RawstorError('BAD_DATA', 'the image is empty', { where: path });
  const sizeBytes = Math.ceil(imageBytes / LIMITS.sectorBytes) * LIMITS.sectorBytes;
  return { kind, ...image, sizeBytes, imageBytes };
}
