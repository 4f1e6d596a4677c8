import type { IoFile } from '../../io/types.js';

/**
 * Calls back for each run of data in a range of a file, as its file system tells it (SEEK_DATA), in order. Offsets in
 * bytes. Short and synchronous; ends early when the callback answers false.
 */
export function forEachData(
  file: IoFile,
  from: number,
  end: number,
  onData: (from: number, end: number) => boolean,
): void {
  let at = from;
  while (at < end) {
    const data = file.seekData(at);
    // Behind the end of the file SEEK_DATA finds nothing and its size is answered.
    if (data < at || data >= end) return;
    const hole = Math.min(end, file.seekHole(data));
    if (hole <= data) return;
    if (!onData(data, hole)) return;
    at = hole;
  }
}
