import type { BlockDevice, BlockLimits, BlockRequest, Extent, LayerRun, Mark } from './device.js';

/** A device over a device that passes everything on; layers replace what they are about. */
export class DeviceLayer implements BlockDevice {
  readonly inner: BlockDevice;

  constructor(inner: BlockDevice) {
    this.inner = inner;
  }

  get sizeBytes(): number {
    return this.inner.sizeBytes;
  }
  get readOnly(): boolean {
    return this.inner.readOnly;
  }
  get limits(): BlockLimits {
    return this.inner.limits;
  }
  get multiConnection(): boolean {
    return this.inner.multiConnection;
  }

  submit(request: BlockRequest): void {
    this.inner.submit(request);
  }

  extents(offset: number, length: number): Promise<Extent[]> {
    return this.inner.extents(offset, length);
  }

  marks(): readonly Mark[] {
    return this.inner.marks?.() ?? [];
  }

  /** A device without layers has everything itself. */
  layers(since: Mark | null, offset: number, length: number): Promise<LayerRun[]> {
    return this.inner.layers?.(since, offset, length) ?? Promise.resolve([{ lengthBytes: length, depth: 1 }]);
  }

  close(): Promise<void> {
    return this.inner.close();
  }
}
