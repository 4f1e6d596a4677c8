import type { BlockDevice, BlockLimits, BlockRequest, Extent, LayerRun, Mark } from './device.js';

/** A device over a device that passes everything on; layers replace what they are about. */
export class DeviceLayer implements BlockDevice {
  readonly inner: BlockDevice;

  readonly marks?: () => readonly Mark[];
  readonly layers?: (since: Mark | null, offset: number, length: number) => Promise<LayerRun[]>;

  readonly refresh?: () => Promise<void>;
  readonly rest?: (resting: boolean) => void;
  readonly giveWay?: () => Promise<number | null>;

  constructor(inner: BlockDevice) {
    this.inner = inner;
    if (inner.refresh !== undefined) this.refresh = () => inner.refresh!();
    if (inner.rest !== undefined) this.rest = (resting) => inner.rest!(resting);
    if (inner.giveWay !== undefined) this.giveWay = () => inner.giveWay!();
    if (inner.marks !== undefined) this.marks = () => inner.marks!();
    if (inner.layers !== undefined) {
      this.layers = (since, offset, length) => inner.layers!(since, offset, length);
    }
  }

  get sizeBytes(): number {
    return this.inner.sizeBytes;
  }
  get endBytes(): number {
    return this.inner.endBytes ?? this.inner.sizeBytes;
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

  close(): Promise<void> {
    return this.inner.close();
  }
}
