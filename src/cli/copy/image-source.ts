import { RawstorError } from '../../common/errors.js';
import { LIMITS } from '../../common/limits.js';
import { inspectImage } from './image-format.js';
import { checkImage, virtualSizeBytes } from './qemu-img.js';

/** A file's holes are known; a disk has none to tell; what a pipe will bring is known at its end. */
export type SourceKind = 'file' | 'disk' | 'nbd' | 'pipe';

/** Where a disk image comes from. */
export interface ImageSource {
  readonly kind: SourceKind;
  /** A path, an NBD URI, or `-`. */
  readonly path: string;
  readonly format: string;
  /** Of the disk in it, in whole sectors; null of a pipe. */
  readonly sizeBytes: number | null;
  /** As it is: what the last sector of a raw image lacks is filled with zeros. */
  readonly imageBytes: number | null;
}

export const STANDARD_STREAM = '-';

/** URI of an export, as NBD programs take it. */
export function isNbdUri(text: string): boolean {
  return /^nbds?(\+unix|\+tcp)?:\/\//.test(text);
}

/** @throws RawstorError NOT_FOUND, DENIED, USAGE, BAD_DATA when it is damaged or empty */
export async function inspectSource(
  path: string,
  format: string | undefined,
  signal: AbortSignal,
): Promise<ImageSource> {
  if (path === STANDARD_STREAM) return pipeSource(format);
  if (isNbdUri(path)) return await measured('nbd', path, format ?? 'raw', null, signal);
  const facts = inspectImage(path);
  const rawBytes = facts.sizeBytes;
  return await measured(facts.isDisk ? 'disk' : 'file', path, format ?? facts.format, rawBytes, signal);
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
  return { kind: 'pipe', path: STANDARD_STREAM, format, sizeBytes: null, imageBytes: null };
}

async function measured(
  kind: SourceKind,
  path: string,
  format: string,
  rawBytes: number | null,
  signal: AbortSignal,
): Promise<ImageSource> {
  const isPlain = format === 'raw' && rawBytes !== null;
  const imageBytes = isPlain ? rawBytes : await virtualSizeBytes(path, format, signal);
  if (format !== 'raw') await checkImage(path, format, signal);
  if (imageBytes === 0) throw new RawstorError('BAD_DATA', 'the image is empty', { where: path });
  const sizeBytes = Math.ceil(imageBytes / LIMITS.sectorBytes) * LIMITS.sectorBytes;
  return { kind, path, format, sizeBytes, imageBytes };
}
