const STEPS_PER_OCTAVE = 16;
const OCTAVES = 40;

/** Latencies by logarithmic steps of about 4 %; recording allocates nothing. */
export class Histogram {
  count = 0;
  maxUs = 0;
  private sumUs = 0;
  private readonly buckets = new Float64Array(STEPS_PER_OCTAVE * OCTAVES);

  record(us: number): void {
    this.count++;
    this.sumUs += us;
    if (us > this.maxUs) this.maxUs = us;
    const step =
      us <= 1 ? 0 : Math.min(this.buckets.length - 1, Math.floor(Math.log2(us) * STEPS_PER_OCTAVE));
    this.buckets[step]!++;
  }

  get meanUs(): number {
    return this.count === 0 ? 0 : this.sumUs / this.count;
  }

  /** Upper edge of the step in which the quantile (0 to 1) lies, at most the maximum. */
  quantileUs(quantile: number): number {
    let left = Math.ceil(this.count * quantile);
    for (let step = 0; step < this.buckets.length; step++) {
      left -= this.buckets[step]!;
      if (left <= 0) return Math.min(this.maxUs, 2 ** ((step + 1) / STEPS_PER_OCTAVE));
    }
    return this.maxUs;
  }
}
