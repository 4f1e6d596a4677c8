import {
  type BlockDevice,
  BlockFlag,
  CheckedDevice,
  FaultDevice,
  MemoryDevice,
} from '../../../src/block/index.js';
import { systemClock } from '../../../src/common/clock.js';
import { RawstorError } from '../../../src/common/errors.js';
import { silentLogger } from '../../../src/common/log.js';
import { seededRandom } from '../../../src/common/random.js';
import { KiB, MiB } from '../../../src/common/units.js';
import { flush, writeZeroes } from '../../../src/fuse/device-call.js';
import { OpenFile } from '../../../src/fuse/open-file.js';
import type { FileVolume, ReadDevice } from '../../../src/fuse/open-file-parts.js';
import { createIo, type Io } from '../../../src/io/index.js';
import type { FileFacts, ObjectInfo, VersionChange } from '../../../src/protocol/index.js';

/** Of records of volumes: each change has a later one. */
let epochs = 0;
const MAX_BYTES = 128 * MiB;

/** A volume in memory that changes its size and keeps what it is as a file; what a smaller size cuts off is gone. */
class MemoryVolume implements FileVolume {
  readonly readOnly = false;
  readonly multiConnection = true;
  sizeBytes: number;
  file: FileFacts | null;
  /** Refuses the next change. */
  refuses = false;
  private readonly inner: BlockDevice;
  private epoch = ++epochs;

  constructor(inner: BlockDevice, sizeBytes: number, file: FileFacts | null) {
    this.inner = inner;
    this.sizeBytes = sizeBytes;
    this.file = file;
  }

  get limits() {
    return this.inner.limits;
  }

  get object(): ObjectInfo {
    const { sizeBytes, file, epoch } = this;
    return { name: 'f', epoch, sizeBytes, file, chunkSizeBytes: MiB, createdWallMs: 1 } as ObjectInfo;
  }

  submit: BlockDevice['submit'] = (request) => {
    if (request.offset + request.length > this.sizeBytes) throw new Error('behind the end of the volume');
    this.inner.submit(request);
  };

  flush = () => flush(this.inner);

  extents: BlockDevice['extents'] = (offset, length) => this.inner.extents(offset, length);

  async change(change: VersionChange): Promise<ObjectInfo> {
    if (this.refuses) throw new RawstorError('BUSY', 'refused');
    if (change.kind !== 'resize' && change.kind !== 'file') throw new Error(change.kind);
    if (change.kind === 'resize') {
      if (change.sizeBytes % 512 !== 0 || change.sizeBytes === 0) throw new Error('not whole sectors');
      const cut = this.sizeBytes - change.sizeBytes;
      if (cut > 0) await writeZeroes(this.inner, change.sizeBytes, cut, BlockFlag.MAY_UNMAP);
      this.sizeBytes = change.sizeBytes;
    }
    this.file = change.file ?? null;
    this.epoch = ++epochs;
    return this.object;
  }

  async close(): Promise<void> {}
}

/** A file over a volume in memory, with faults between. */
export class FileRig {
  readonly io: Io = createIo({ poolBytes: 16 * MiB });
  readonly fault: FaultDevice;
  volume: MemoryVolume;
  file: OpenFile;
  /** What the file is read by, when that is not the volume. */
  reading: ((onEnded: () => void) => ReadDevice) | null = null;
  private readonly device: CheckedDevice;

  constructor(sizeBytes: number, file: FileFacts | null) {
    const memory = new MemoryDevice(this.io, { sizeBytes: MAX_BYTES });
    this.fault = new FaultDevice(memory, { io: this.io, clock: systemClock, random: seededRandom(1) });
    this.device = new CheckedDevice(this.fault);
    this.volume = new MemoryVolume(this.device, sizeBytes, file);
    this.file = this.make();
  }

  /** As after a crash of the mount, or in another one: what is known is what is on record. */
  async reopen(): Promise<void> {
    const { sizeBytes, file, refuses } = this.volume;
    this.volume = new MemoryVolume(this.device, sizeBytes, file);
    this.volume.refuses = refuses;
    this.file = this.make();
    await this.file.open(true);
  }

  async stop(): Promise<void> {
    const left = this.io.pool.usedBytes;
    await this.io.close();
    if (left !== 0) throw new Error(`${left} bytes of the pool were not given back`);
  }

  /** The file as it is open elsewhere. */
  another(): OpenFile {
    return this.make();
  }

  private make(): OpenFile {
    const { sizeBytes, file } = this.volume;
    return new OpenFile(
      'f',
      { file, sizeBytes: file?.sizeBytes ?? sizeBytes, modifiedWallMs: 1 },
      {
        pool: this.io.pool,
        clock: systemClock,
        log: silentLogger,
        wrote: () => {},
        openWrite: async () => this.volume,
        openRead: async (onEnded) => this.reading?.(onEnded) ?? this.volume,
      },
    );
  }
}

export const FILE_MAX_BYTES = 2 * MiB + 300 * KiB;
