/** Ranges that rise, those that touch joined; at most so many. */
const RANGES_MAX = 2 ** 20;

/** Where a difference has something, in as little memory as that takes. */
export class RangeSet {
  private readonly from: number[] = [];
  private readonly until: number[] = [];
  /** There were too many: then it covers nothing. */
  private overflowed = false;

  /** Not before the end of the last one. */
  add(offset: number, length: number): void {
    const last = this.until.length - 1;
    if (last >= 0 && this.until[last] === offset) this.until[last] = offset + length;
    else if (this.until.length >= RANGES_MAX) this.overflowed = true;
    else {
      this.from.push(offset);
      this.until.push(offset + length);
    }
  }

  covers(from: number, until: number): boolean {
    if (this.overflowed) return false;
    let [low, high] = [0, this.until.length];
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.until[middle]! <= from) low = middle + 1;
      else high = middle;
    }
    return low < this.from.length && this.from[low]! <= from && until <= this.until[low]!;
  }
}
