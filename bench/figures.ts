/** How benchmarks tell of several runs. */

/** Of an even number of values the larger of the middle two. */
export function medianOf(of: readonly number[]): number {
  return ascending(of)[Math.floor(of.length / 2)]!;
}

export function medianAndMost(of: readonly number[], digits: number): string {
  return `${medianOf(of).toFixed(digits)} (at most ${Math.max(...of).toFixed(digits)})`;
}

export function medianAndRange(of: readonly number[], digits: number): string {
  const [least, most] = [Math.min(...of), Math.max(...of)];
  return `${medianOf(of).toFixed(digits)} (${least.toFixed(digits)} to ${most.toFixed(digits)})`;
}

const ascending = (of: readonly number[]) => [...of].sort((a, b) => a - b);
