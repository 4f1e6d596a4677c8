/** Counters of a mount since it began. */
export class SessionStats {
  readBytes = 0;
  writtenBytes = 0;
  /** Of requests for data. */
  errors = 0;
  interrupted = 0;
  /** By opcode. */
  readonly requests = new Map<number, number>();

  count(opcode: number): void {
    this.requests.set(opcode, (this.requests.get(opcode) ?? 0) + 1);
  }
}
