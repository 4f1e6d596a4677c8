import { LIMITS } from '../common/limits.js';

/** Runs of length and state, joined; full when an answer has no more room. */
export class Runs {
  readonly flat: number[] = [];
  private readonly limit = LIMITS.extentsPerAnswer * 2;

  get full(): boolean {
    return this.flat.length >= this.limit;
  }

  add(length: number, state: number): void {
    const { flat } = this;
    if (flat.length > 0 && flat[flat.length - 1] === state) flat[flat.length - 2]! += length;
    else if (!this.full) flat.push(length, state);
  }
}
