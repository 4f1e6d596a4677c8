import { expect } from 'vitest';
import type { RawstorError } from '../../../src/common/errors.js';
import { DataRequest } from '../../../src/fuse/data-request.js';
import { heapMemory } from '../../../src/io/memory.js';
import type { FileRig } from './rig.js';

/** Requests as a session makes them. */
export class Requests {
  released = 0;
  private readonly rig: () => FileRig;
  private readonly settle = new Map<DataRequest, (error: RawstorError | null) => void>();

  constructor(rig: () => FileRig) {
    this.rig = rig;
  }

  get pool() {
    return this.rig().io.pool;
  }

  dataDone(request: DataRequest, error: RawstorError | null): void {
    this.settle.get(request)!(error);
  }

  dataReleased(): void {
    this.released++;
  }

  async read(offset: number, length: number): Promise<Buffer> {
    const request = new DataRequest(this);
    const error = await this.ended(request, () => request.read(1, this.rig().file, offset, length));
    const bytes = request.data.toBuffer();
    request.release();
    if (error !== null) throw error;
    return bytes;
  }

  async write(offset: number, bytes: Buffer, durable = false): Promise<void> {
    const memory = heapMemory(bytes.length);
    bytes.copy(memory.bytes);
    const request = new DataRequest(this);
    let owners = 1;
    const payload = { memory, offset: 0, lengthBytes: bytes.length, owner: { release: () => owners-- } };
    const error = await this.ended(request, () =>
      request.write(1, this.rig().file, offset, payload, durable),
    );
    request.release();
    expect(owners).toBe(0);
    if (error !== null) throw error;
  }

  private ended(request: DataRequest, start: () => void): Promise<RawstorError | null> {
    return new Promise((resolve) => {
      this.settle.set(request, resolve);
      start();
    });
  }
}
