import type { BlockRequest } from '../../block/device.js';
import { asRawstorError, type RawstorError } from '../../common/errors.js';
import { isFinal } from './refusals.js';
import type { StandbyReader } from './standby-reader.js';

/** Reads of a front-end that waits to be moved here, of bytes as replicas have them. */
export class StandbyReads {
  private readonly reader: StandbyReader;
  private readonly onRead: () => void;
  private readonly onFailed: (block: BlockRequest) => void;
  private underWay = 0;
  private over: (() => void) | null = null;

  /** @param onFailed of one that having the volume may answer: to wait for that like a write */
  constructor(reader: StandbyReader, onRead: () => void, onFailed: (block: BlockRequest) => void) {
    this.reader = reader;
    this.onRead = onRead;
    this.onFailed = onFailed;
  }

  async submit(block: BlockRequest): Promise<void> {
    this.underWay++;
    let failure: RawstorError | null = null;
    try {
      await this.reader.read(block);
      this.onRead();
    } catch (error) {
      failure = asRawstorError(error);
    }
    this.underWay--;
    if (failure === null || isFinal(failure)) block.owner.blockDone(block, failure);
    else this.onFailed(block);
    if (this.underWay === 0) this.over?.();
  }

  async whenOver(): Promise<void> {
    if (this.underWay === 0) return;
    await new Promise<void>((resolve) => {
      this.over = resolve;
    });
  }
}
