/** Puts pieces of a stream together, or cuts them, to one size; they are not copied before that has to be. */
export class Gathering {
  private readonly sizeBytes: number;
  private pieces: Buffer[] = [];
  private bytes = 0;

  constructor(sizeBytes: number) {
    this.sizeBytes = sizeBytes;
  }

  get isEmpty(): boolean {
    return this.bytes === 0;
  }

  /** @param onFull is to `take` what there is, and is waited for */
  async add(bytes: Buffer, onFull: () => Promise<void>): Promise<void> {
    for (let at = 0; at < bytes.length; ) {
      const taken = bytes.subarray(at, at + this.sizeBytes - this.bytes);
      this.pieces.push(taken);
      this.bytes += taken.length;
      at += taken.length;
      if (this.bytes === this.sizeBytes) await onFull();
    }
  }

  /** What was added since the last time. */
  take(): Buffer {
    const { pieces } = this;
    this.pieces = [];
    this.bytes = 0;
    return pieces.length === 1 ? pieces[0]! : Buffer.concat(pieces);
  }
}
