import { close, constants, fstatSync, ftruncate, open } from 'node:fs';
import { promisify } from 'node:util';
import { asRawstorError, RawstorError } from '../common/errors.js';
import { loadNative, type Native } from '../native/index.js';
import { ENXIO, errnoError } from './errno.js';
import { SEEK_DATA, SEEK_HOLE } from './ring-abi.js';
import type { FileOp, IoFile, OpenOptions } from './types.js';

const openAsync = promisify(open);
const closeAsync = promisify(close);
const truncateAsync = promisify(ftruncate);

/** @throws RawstorError naming the path */
export async function openDescriptor(path: string, options: OpenOptions): Promise<number> {
  let flags = options.readOnly ? constants.O_RDONLY : constants.O_RDWR;
  if (options.create) flags |= constants.O_CREAT;
  if (options.exclusive) flags |= constants.O_EXCL;
  if (options.direct) flags |= constants.O_DIRECT;
  try {
    return await openAsync(path, flags, 0o600);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EEXIST')
      throw new RawstorError('EXISTS', 'the file exists already', { where: path, cause: error });
    if (code === 'EINVAL' && options.direct) {
      throw new RawstorError(
        'NOT_SUPPORTED',
        'this file system cannot be used without the page cache (O_DIRECT)',
        {
          where: path,
          hint: 'use another file system, or turn direct I/O off',
          cause: error,
        },
      );
    }
    throw asRawstorError(error, path);
  }
}

/** What is the same for every open file: all that is short, synchronous or rare. */
export abstract class FileBase implements IoFile {
  readonly fd: number;
  readonly path: string;
  protected readonly native: Native = loadNative();
  private readonly onClosed: (file: FileBase) => void;
  private closing: Promise<void> | null = null;

  constructor(fd: number, path: string, onClosed: (file: FileBase) => void) {
    this.fd = fd;
    this.path = path;
    this.onClosed = onClosed;
  }

  abstract read(op: FileOp): void;
  abstract write(op: FileOp): void;
  abstract sync(op: FileOp): void;
  abstract punch(op: FileOp): void;
  abstract writeback(op: FileOp): void;

  seekData(fileOffset: number): number {
    return this.seek(fileOffset, SEEK_DATA);
  }

  seekHole(fileOffset: number): number {
    return this.seek(fileOffset, SEEK_HOLE);
  }

  sizeBytes(): number {
    return fstatSync(this.fd).size;
  }

  allocatedBytes(): number {
    return fstatSync(this.fd).blocks * 512;
  }

  async truncate(sizeBytes: number): Promise<void> {
    try {
      await truncateAsync(this.fd, sizeBytes);
    } catch (error) {
      throw asRawstorError(error, this.path);
    }
  }

  close(): Promise<void> {
    this.closing ??= closeAsync(this.fd).then(
      () => this.onClosed(this),
      (error) => {
        throw asRawstorError(error, this.path);
      },
    );
    return this.closing;
  }

  private seek(fileOffset: number, whence: number): number {
    const result = this.native.seek(this.fd, fileOffset, whence);
    if (result === -ENXIO) return this.sizeBytes();
    if (result < 0) throw errnoError(result, 'lseek', this.path);
    return result;
  }
}
